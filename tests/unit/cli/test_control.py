"""``mailqueue cancel``, ``hold``, ``release``, ``requeue``, ``resolve`` and ``list``, from an operator's seat."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner

import mailqueue
from mailqueue import EmailMessage, State, conf, enqueue_many
from mailqueue.cli import main
from mailqueue.ledger.base import Settlement
from mailqueue.outcome import Result, Verdict
from mailqueue.producer import get_producer
from mailqueue.smtp.reply import Reply

GONE = Result(Verdict.REFUSED, Reply(550, "5.1.1 nobody of that name"))


@pytest.fixture(autouse=True)
def ledger(monkeypatch, tmp_path):
    """A ledger of this test's in memory, and nobody's dev."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    return get_producer().ledger


def run(*arguments, text=""):
    return CliRunner().invoke(main, arguments, input=text)


def many(count, **options):
    mails = (EmailMessage(f"Number {n}", "b", "f@example.com", ["t@example.com"]) for n in range(count))
    return [receipt.id for receipt in enqueue_many(mails, **options)]


def settle(ledger, message_id, state, **results):
    ledger.claim(mailqueue.status(message_id).lane, [message_id], token="t", owner="w:1")
    ledger.begin([message_id], "t")
    ledger.record([Settlement(message_id, state, results, reason="because")], "t")


def states(ids):
    return [mailqueue.status(message_id).state for message_id in ids]


def test_messages_are_cancelled_by_id():
    one, two = many(2)
    result = run("cancel", one)
    assert (result.exit_code, result.stdout) == (0, f"{one} cancelled\n")
    assert states([one, two]) == [State.CANCELLED, State.QUEUED]


def test_what_was_named_and_not_done_is_exit_status_1(ledger):
    [sent] = many(1)
    settle(ledger, sent, State.SENT)
    result = run("cancel", sent, "absent")
    assert result.exit_code == 1
    assert result.stdout == f"{sent} late\nabsent missing\n"
    for command in ("hold", "release", "requeue"):
        assert run(command, sent).exit_code == 1


def test_a_filter_asks_first_and_says_how_many():
    ids = many(3, lane="bulk")
    result = run("cancel", "--lane", "bulk", text="n\n")
    assert result.exit_code == 1
    assert "Cancel 3 messages?" in result.stderr
    assert states(ids) == [State.QUEUED] * 3
    result = run("cancel", "--lane", "bulk", text="y\n")
    assert (result.exit_code, result.stdout) == (0, "3 cancelled\n")
    assert states(ids) == [State.CANCELLED] * 3


def test_a_script_says_yes_beforehand():
    many(2)
    assert run("hold", "--state", "queued", "--yes").stdout == "2 held\n"
    assert run("release", "--all", "-y").stdout == "2 deferred\n"
    assert run("cancel", "--relay", "office", "-y").stdout == "no such messages\n"


def test_nobody_answering_is_no():
    ids = many(1)
    assert run("hold", "--all").exit_code == 1
    assert states(ids) == [State.QUEUED]


def test_for_programs_there_is_a_word_for_each_id():
    ids = many(2)
    assert json.loads(run("hold", "--all", "--yes", "--json").stdout) == dict.fromkeys(ids, "held")
    assert json.loads(run("release", ids[0], "--json").stdout) == {ids[0]: "deferred"}


def test_holding_gives_its_reason():
    [message_id] = many(1)
    assert run("hold", message_id, "--reason", "ask the office").exit_code == 0
    assert "held (ask the office)" in run("status", message_id).stdout


def test_requeueing_finds_failed_and_partial(ledger):
    failed, partial, queued = many(3)
    settle(ledger, failed, State.FAILED, **{"t@example.com": GONE})
    settle(ledger, partial, State.PARTIAL, **{"t@example.com": GONE})
    assert run("requeue", "--all", "--yes").stdout == "2 deferred\n"
    assert states([failed, partial, queued]) == [State.DEFERRED, State.DEFERRED, State.QUEUED]


def test_an_unknown_message_is_resolved(ledger):
    [message_id, other] = many(2, on_unknown="hold")
    settle(ledger, message_id, State.UNKNOWN)
    result = run("resolve", message_id, "sent", "--reason", "seen in the log")
    assert (result.exit_code, result.stdout) == (0, "sent\n")
    result = run("resolve", other, "sent")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert run("resolve", "absent", "sent").exit_code == 1


@pytest.mark.parametrize("command", ["cancel", "hold", "release", "requeue"])
def test_wrong_usage_is_told(command):
    assert "say which messages" in run(command).stderr
    assert "say which messages" in run(command, "id", "--all").stderr
    assert run(command).exit_code == 2
    assert run(command, "--state", "sent").exit_code == 2
    assert f"{command} is for messages that are" in run(command, "--state", "unknown").stderr


# -- list


def test_a_state_is_listed_oldest_first(ledger):
    one, two, three = many(1, lane="urgent") + many(2)
    settle(ledger, one, State.FAILED, **{"t@example.com": GONE})
    lines = run("list", "--state", "failed").stdout.splitlines()
    assert lines[0].split() == ["id", "lane", "relay", "tries", "accepted", "due", "reason"]
    assert lines[1].split()[:4] == [one, "urgent", "default", "1"]
    assert lines[1].rstrip().endswith("because")
    assert set(run("list", "--state", "queued", "--ids").stdout.split()) == {two, three}
    assert run("list", "--state", "queued", "--lane", "urgent").stdout == "no such messages\n"
    assert len(run("list", "--state", "queued", "--ids", "--limit", "1").stdout.split()) == 1


def test_a_list_for_programs_is_an_object_a_line():
    ids = many(2)
    found = [json.loads(line) for line in run("list", "--state", "queued", "--json").stdout.splitlines()]
    assert {each["id"] for each in found} == set(ids)
    assert (found[0]["state"], found[0]["attempts"], found[0]["due_at"]) == ("queued", 0, None)
    assert "t@example.com" not in str(found)


def test_what_cannot_be_listed_is_wrong_usage():
    assert run("list", "--state", "sent").exit_code == 2
    assert run("list").exit_code == 2
