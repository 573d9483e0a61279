"""``mailqueue rates``: what holds for each relay, what was used, and changing it."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner

from mailqueue import conf
from mailqueue.cli import main
from mailqueue.presets import PRESETS
from mailqueue.producer import get_producer
from mailqueue.rate import Limits


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")


def run(*arguments):
    return CliRunner().invoke(main, ["rates", *arguments])


def ledger_rates():
    return get_producer().ledger.rates


def test_without_limits_it_says_so():
    conf.configure(MAILQUEUE_RELAYS={"default": {"window": 5}})
    assert run().stdout == "No relay is limited.\n"
    assert run("--json").stdout == ""


def test_limits_of_the_settings_and_what_was_used_of_them():
    conf.configure(
        MAILQUEUE_RELAYS={"default": {"rates": "14/s, 500/d", "domains": {"gmail.com": "5/s, 2 connections"}}}
    )
    limits = Limits.parse("14/s, 500/d")
    ledger_rates().take("", {"a.example": 2}, limits=limits, owner="w")
    assert run().stdout.splitlines() == [
        "default  14/s, 500/d  sent 2 in the last d",
        "  gmail.com  5/s, 2 connections",
    ]
    facts = json.loads(run("--json").stdout)
    assert (facts["settings"], facts["used"]) == ("14/s, 500/d; gmail.com 5/s, 2 connections", {"d": 2})


def test_limits_set_by_hand_hold_and_are_taken_back():
    conf.configure(MAILQUEUE_RELAYS={"ses": {"rates": "14/s"}})
    assert run("set", "ses", "20/s", "gmail.com 5/s").stdout == "ses: 20/s; gmail.com 5/s, from now on\n"
    assert ledger_rates().limited("ses", Limits.parse("14/s")) == {"": 20, "gmail.com": 5}
    assert run().stdout.splitlines() == ["ses  20/s  set by hand", "  gmail.com  5/s  set by hand"]
    assert run("reset", "ses").stdout == "ses: the limits of the settings, from now on\n"
    assert run().stdout == "ses  14/s\n"


def test_the_default_relay_is_called_default():
    assert run("set", "default", "1 connection").exit_code == 0
    assert ledger_rates().limited("", Limits())[""] == float("inf")
    assert run().stdout == "default  1 connection  set by hand\n"


def test_limits_may_be_taken_away():
    run("set", "default", "unlimited; a.example unlimited")
    assert run().stdout.splitlines() == ["default  unlimited  set by hand", "  a.example  unlimited  set by hand"]


def test_a_slowed_domain_is_told_with_the_reason():
    ledger_rates().slow_down("ses", "a.example", reason="421 4.7.28")
    assert run().stdout.splitlines() == [
        "ses  unlimited",
        "  a.example  0.5/s  slowed, as the relay asked: 421 4.7.28",
    ]


@pytest.mark.parametrize(
    ("limits", "says"),
    [("20", "'20' is no rate; write 14/s"), ("fast!", "neither a rate nor"), ("fast", "has no limit")],
)
def test_what_is_no_limit_is_told_what_would_be(limits, says):
    result = run("set", "ses", limits)
    assert result.exit_code == 2
    assert says in result.stderr


def test_the_presets_are_listed():
    lines = run("presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert "30/min, 10000/d, 3 connections" in "".join(lines)


@pytest.mark.parametrize("command", [[], ["set"], ["reset"], ["presets"]])
def test_help_tells_each_command(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 3
