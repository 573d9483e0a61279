"""``mailqueue send`` enqueues the user's own message; ``mailqueue status`` tells what became of it."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from mailqueue import conf, producer
from mailqueue.cli import main
from mailqueue.codec import decode


@pytest.fixture(autouse=True)
def ledger(monkeypatch, tmp_path):
    """A ledger of this test's in memory, and nobody's dev."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    return lambda: producer.get_producer().ledger


def run(*arguments, text="Hello\n"):
    return CliRunner().invoke(main, arguments, input=text)


def send(*options, **more):
    result = run("send", *options, **more)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_prints_the_id_of_a_message_that_is_as_it_was_told(ledger, tmp_path):
    (tmp_path / "page.html").write_text("<p>Grüße</p>")
    (tmp_path / "data.bin").write_bytes(b"\x00\xff")
    message_id = send(
        *("--to", "a@example.com", "--to", "b@example.com", "--cc", "c@example.com", "--bcc", "d@example.com"),
        *("--from", "me@example.com", "--reply-to", "r@example.com", "--header", "X-Kind:  test ", "--subject", "Hi"),
        *("--html", str(tmp_path / "page.html"), "--attach", str(tmp_path / "data.bin"), "--lane", "bulk"),
        text="Grüße\n",
    )
    envelope = decode(ledger().get(message_id).envelope)
    assert (envelope.subject, envelope.body, envelope.from_email) == ("Hi", "Grüße\n", "me@example.com")
    assert (envelope.to, envelope.cc, envelope.bcc) == (
        ("a@example.com", "b@example.com"),
        ("c@example.com",),
        ("d@example.com",),
    )
    assert envelope.reply_to == ("r@example.com",)
    assert envelope.headers["X-Kind"] == "test"
    assert envelope.lane == "bulk"
    assert [(part.type, part.content) for part in envelope.alternatives] == [("text/html", "<p>Grüße</p>")]
    assert [part.name for part in envelope.attachments] == ["data.bin"]


def test_without_from_it_comes_from_the_default(ledger):
    conf.configure(DEFAULT_FROM_EMAIL="shop@example.com")
    message_id = send("--to", "a@example.com", "--subject", "s")
    assert decode(ledger().get(message_id).envelope).from_email == "shop@example.com"


def test_a_message_for_nobody_is_wrong_usage():
    result = run("send", "--subject", "s")
    assert result.exit_code == 2
    assert "no recipient" in result.stderr


def test_what_the_message_would_refuse_is_told_on_a_line():
    result = run("send", "--to", "a@example.com", "--subject", "a\nb")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_a_message_waits_for_its_time_and_expires(ledger):
    begun = time.time()
    soon = ledger().get(send("--to", "a@example.com", "--subject", "s", "--send-at", "2h", "--expires-at", "30 min"))
    assert soon.state == "scheduled"
    assert soon.due_at == pytest.approx(begun + 7200, abs=5)
    assert soon.expires_at == pytest.approx(begun + 7200 + 1800, abs=5)
    late = ("--send-at", "2126-12-24T18:00+01:00", "--expires-at", "2126-12-25T00:00Z")
    later = ledger().get(send("--to", "a@example.com", "--subject", "s", *late))
    assert later.due_at == datetime(2126, 12, 24, 17, tzinfo=UTC).timestamp()
    assert later.expires_at == datetime(2126, 12, 25, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("option", ["--send-at", "--expires-at"])
def test_a_time_that_is_none_is_wrong_usage(option):
    result = run("send", "--to", "a@example.com", "--subject", "s", option, "tomorrow")
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': 'tomorrow' is no time" in result.stderr


def test_a_message_that_could_never_be_sent_is_refused():
    result = run(
        "send", "--to", "a@example.com", "--subject", "s", "--send-at", "2h", "--expires-at", "2026-01-01T00:00Z"
    )
    assert result.exit_code == 1
    assert "it would never be sent" in result.stderr


def test_the_same_key_again_is_the_first_message(ledger):
    first = send("--to", "a@example.com", "--subject", "s", "--key", "order 7")
    assert send("--to", "a@example.com", "--subject", "s", "--key", "order 7") == first
    assert ledger().counts() == {"default": {"queued": 1}}
    other = run("send", "--to", "a@example.com", "--subject", "another", "--key", "order 7")
    assert other.exit_code == 1
    assert f"belongs to message {first}" in other.stderr


def test_what_to_do_when_its_answer_is_lost_can_be_told(ledger):
    message_id = send("--to", "a@example.com", "--subject", "s", "--on-unknown", "hold")
    assert decode(ledger().get(message_id).envelope).on_unknown == "hold"


def test_status_counts_by_lane_and_state():
    for lane in ("urgent", "bulk", "bulk"):
        send("--to", "a@example.com", "--subject", "s", "--lane", lane)
    counts = json.loads(run("status", "--json").stdout)
    assert {lane: counts[lane]["queued"] for lane in ("urgent", "bulk")} == {"urgent": 1, "bulk": 2}
    table = [line.split() for line in run("status").stdout.splitlines()]
    assert table == [["lane", "queued"], ["urgent", "1"], ["default", "0"], ["bulk", "2"]]


def test_status_of_nothing_is_a_table_of_zeros():
    table = [line.split() for line in run("status").stdout.splitlines()]
    assert table[1:] == [["urgent", "0"], ["default", "0"], ["bulk", "0"]]


def test_status_of_a_message_names_its_recipients():
    message_id = send("--to", "a@example.com", "--bcc", "b@example.com", "--subject", "s")
    found = json.loads(run("status", message_id, "--json").stdout)
    assert (found["id"], found["state"], found["lane"], found["attempts"]) == (message_id, "queued", "default", 0)
    assert found["recipients"]["b@example.com"] == {"verdict": "pending", "code": None, "text": None}
    shown = run("status", message_id).stdout
    assert "queued" in shown
    assert "a@example.com: pending" in shown


def test_an_unknown_id_is_an_error():
    result = run("status", "nobody")
    assert result.exit_code == 1
    assert "no message 'nobody'" in result.stderr
