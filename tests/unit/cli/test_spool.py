"""``mailqueue spool``: what waits on this host, and a way to empty it."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from click.testing import CliRunner

from mailqueue import State, conf, status
from mailqueue.cli import main
from mailqueue.ledger.base import Submission
from mailqueue.producer import get_producer
from mailqueue.spool import Spool


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(
        MAILQUEUE_BROKER_URL="memory://",
        MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}",
        MAILQUEUE_SPOOL=tmp_path / "spool.db",
    )


@pytest.fixture
def put(tmp_path):
    """Spool messages, as if ``age`` s ago."""

    def put(*ids, age=0.0):
        spool = Spool(tmp_path / "spool.db", clock=lambda: time.time() - age)
        spool.put("default", [Submission(each, b"env") for each in ids], {})
        spool.close()

    return put


def run(*arguments, text=""):
    return CliRunner().invoke(main, ["spool", *arguments], input=text)


def test_status_of_a_spool_that_was_never_needed(tmp_path):
    result = run("status")
    assert result.exit_code == 0
    assert result.stdout.split("\n")[:3] == [f"spool    {tmp_path / 'spool.db'}", "waiting  0", "held     0"]
    assert not (tmp_path / "spool.db").exists()


def test_status_tells_what_waits_and_since_when(put):
    put("m1", age=3700)
    put("m2")
    assert "waiting  2, the oldest for 1 h 1 min" in run("status").stdout
    found = json.loads(run("status", "--json").stdout)
    assert (found["waiting"], found["held"], found["octets"]) == (2, 0, 6)
    assert CliRunner().invoke(main, ["status"]).stderr == "(and in the spool of this host: 2 waiting, 0 held)\n"


def test_flush_has_the_ledger_accept_what_waits(put):
    put("m1", "m2")
    result = run("flush")
    assert (result.exit_code, result.stdout) == (0, "2 accepted, 0 waiting, 0 held\n")
    assert status("m1").state is State.QUEUED


def test_a_ledger_that_is_still_away_is_told(put):
    put("m1")
    conf.configure(MAILQUEUE_LEDGER_URL="redis://127.0.0.1:1/0")
    result = run("flush")
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "waiting  1" in run("status").stdout


def test_what_is_held_is_shown_and_sent_by_a_person_alone(put):
    put("old", age=8 * 86400)
    assert run("flush").stdout == "0 accepted, 0 waiting, 1 held\n"
    shown = run("status").stdout
    assert "held     1" in shown
    assert "old default, spooled" in shown
    assert "it may have been sent" in shown
    assert json.loads(run("status", "--json").stdout)["held_messages"][0]["id"] == "old"
    assert run("flush", "--held", text="n\n").exit_code == 1
    assert run("flush", "--held", text="y\n").stdout.endswith("1 accepted, 0 waiting, 0 held\n")
    assert get_producer().ledger.get("old").state is State.QUEUED


def test_messages_can_be_dropped(put):
    put("m1", "m2")
    result = run("drop", "m1", "absent")
    assert (result.exit_code, result.stdout) == (1, "m1 dropped\nabsent missing\n")
    assert run("drop", "m2").exit_code == 0
    assert "waiting  0" in run("status").stdout


@pytest.mark.parametrize("command", [("status",), ("flush",), ("drop", "m1")])
def test_without_a_spool_or_with_a_damaged_one_it_is_told_on_a_line(command, tmp_path):
    (tmp_path / "spool.db").write_text("no database " * 1000)
    result = run(*command)
    assert result.exit_code == 1
    assert "move it away" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    conf.configure(MAILQUEUE_SPOOL=None)
    result = run(*command)
    assert result.exit_code == 1
    assert "MAILQUEUE_SPOOL is not set" in result.stderr
