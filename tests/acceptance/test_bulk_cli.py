"""Bulk mail from a user's seat: two files, one command, real servers; and an account of everybody afterwards."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from mailqueue.testing import EmbeddedValkey, Inbox, Worker
from mailqueue.testing.environment import clean_environment

pytestmark = pytest.mark.store

TEMPLATE = """\
subject = "{{ name }}, news"
from = "news@shop.example"
text = "Dear {{ name }},\\n\\nnews.\\n"
attachments = ["terms.pdf"]
"""


@pytest.fixture(scope="module")
def stage():
    """Servers, and the settings that lead to them."""
    with Inbox(refuse=["member3@example.com"]) as inbox, EmbeddedValkey() as store:
        settings = {"MAILQUEUE_BROKER_URL": store.url, "EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}
        with Worker({**settings, "MAILQUEUE_TICK_SECONDS": "0.2"}, concurrency=1):
            yield inbox, settings


@pytest.fixture
def files(tmp_path):
    (tmp_path / "spring.toml").write_text(TEMPLATE)
    (tmp_path / "terms.pdf").write_bytes(b"%PDF-1.4\n" + bytes(range(256)) * 200)
    lines = ["email,name", *(f"member{number}@example.com,Member {number}" for number in range(250))]
    (tmp_path / "members.csv").write_text("\n".join([*lines, "MEMBER7@example.com,Again", ""]))
    return str(tmp_path / "spring.toml"), str(tmp_path / "members.csv")


@pytest.fixture
def run(stage):
    def invoke(*arguments, text=""):
        return subprocess.run(
            [sys.executable, "-m", "mailqueue", "bulk", *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=clean_environment(COLUMNS="160", **stage[1]),
            timeout=90,
            check=False,
        )

    return invoke


def test_from_two_files_to_everybodys_inbox_and_back_to_a_report(stage, run, files, tmp_path):
    inbox, _ = stage
    tried = run("send", *files, "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert "Subject: Member 0, news" in tried.stdout
    assert "[attached: terms.pdf" in tried.stdout

    sent = run("send", *files, "--campaign", "spring", "--yes", "--wait")
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.splitlines()[0] == "spring"
    assert "250 recipients stored, 1 duplicate left out" in sent.stderr
    assert "spring: finished after" in sent.stdout
    assert "249 sent, 1 refused" in sent.stdout
    assert "mailqueue bulk export spring --state failed" in sent.stderr

    arrivals = [arrival for arrival in inbox.arrivals if arrival.recipients[0].startswith("member")]
    assert len({arrival.recipients for arrival in arrivals}) == len(arrivals) == 249
    by_recipient = {arrival.recipients[0]: arrival.message for arrival in arrivals}
    letter = by_recipient["member41@example.com"]
    assert letter["Subject"] == "Member 41, news"
    text, pdf = letter.iter_parts()
    assert text.get_content().splitlines() == ["Dear Member 41,", "", "news."]
    assert pdf.get_content() == (tmp_path / "terms.pdf").read_bytes()

    refused = list(csv.DictReader(io.StringIO(run("export", "spring", "--state", "failed").stdout)))
    assert [(row["address"], row["state"]) for row in refused] == [("member3@example.com", "failed")]
    assert refused[0]["reply"] == "550 5.1.1 No such user here"
    found = json.loads(run("status", "spring", "--json").stdout)
    assert (found["state"], found["counts"]["sent"], found["done"]) == ("finished", 249, 1)
    assert run("retry", "spring").stdout == "spring: 1 recipient to be sent to again\n"
    watched = run("status", "spring", "--watch")
    assert watched.returncode == 0
    assert "spring: finished" in watched.stdout


def test_ctrl_c_leaves_it_running_and_it_goes_on_where_it_was_paused(stage, run, files):
    """A campaign whose start is to come waits; that is a good moment for all of it."""
    command = [sys.executable, "-m", "mailqueue", "bulk", "send", *files, "--campaign", "later", "--start-at", "1h"]
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "--yes", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(PYTHONUNBUFFERED="1", **stage[1]),
        process_group=0,
    )
    signal.signal(signal.SIGINT, usual)
    with process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "starts" in line:
                break
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert re.search(r"later: 0 of 250 \(0 %\); .+ 250 to go; starts .+ \(in (1 h|59 min)", lines[-1]), lines
    assert process.returncode == 130, told
    assert "later goes on without you." in told
    assert "mailqueue bulk cancel later" in told

    assert "later is paused at 0 of 250 recipients" in run("pause", "later").stdout
    assert "later is scheduled: starts" in run("resume", "later").stdout
    assert run("cancel", "later", "--yes").returncode == 0
    deadline = time.monotonic() + 20
    while json.loads(run("status", "later", "--json").stdout)["counts"]["cancelled"] < 250:
        assert time.monotonic() < deadline
    assert run("pause", "later").returncode == 1
