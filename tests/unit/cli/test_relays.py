"""``mailqueue relays``: which relays are in trouble, and taking that off."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner

from mailqueue import conf
from mailqueue.cli import main
from mailqueue.producer import get_producer


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")


def run(*arguments):
    return CliRunner().invoke(main, ["relays", *arguments])


def trouble(relay, **more):
    get_producer().ledger.relay_trouble(relay, owner="w", **{"delay": 60.0, "reason": "connect: refused", **more})


def test_when_all_are_well_it_says_so():
    assert run().stdout == "No relay is in trouble.\n"
    assert run("--json").stdout == ""


def test_a_relay_in_trouble_is_listed_with_its_reason_and_next_probe():
    trouble("")
    line = run().stdout
    assert line.startswith("default  since ")
    assert "failed 1 time, to be asked in 1 min: connect: refused" in line
    assert json.loads(run("--json").stdout)["times"] == 1


def test_one_that_is_being_asked_is_told():
    trouble("office", delay=0.0)
    get_producer().ledger.relay_probe("office", "w")
    assert "being asked just now" in run().stdout


def test_one_whose_time_has_come_is_told():
    trouble("office", delay=0.0)
    assert "failed 1 time, to be asked with the next message: connect" in run().stdout


def test_refused_credentials_are_told():
    trouble("office", latch="f1", reason="auth: 535 5.7.8")
    assert "refused the login, not asked again before it is changed: auth: 535 5.7.8" in run().stdout


@pytest.mark.parametrize(("alias", "relay"), [("default", ""), ("office", "office")])
def test_a_relay_is_asked_again_by_hand(alias, relay):
    trouble(relay, latch="f1")
    trouble(relay)
    result = run("retry", alias)
    assert (result.exit_code, result.stdout) == (0, f"{alias} will be asked again\n")
    assert get_producer().ledger.relay_states() == {}


def test_one_that_is_well_needs_no_hand():
    result = run("retry", "office")
    assert result.exit_code == 1
    assert "office is in no trouble" in result.stderr
