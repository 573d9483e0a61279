"""``mailqueue bulk status`` tells how campaigns stand, to people and to programs."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mailqueue import bulk
from mailqueue.cli.bulk import following


def test_lists_the_campaigns_newest_first(run, spring):
    spring("one", 2)
    spring("two", 1500)
    bulk.cancel("one")
    lines = [line.split() for line in run("status").output.splitlines()]
    assert lines[0] == ["campaign", "state", "recipients", "done", "sent", "refused", "cancelled", "waiting"]
    assert sorted(lines[1:]) == [
        ["one", "cancelled", "2", "100", "%", "0", "0", "2", "0"],
        ["two", "running", "1,500", "0", "%", "0", "0", "0", "1,500"],
    ]


def test_without_any_it_says_so(run):
    assert run("status").output == "no campaigns\n"


def test_tells_all_about_one(run, spring):
    spring(start_at=datetime.now(UTC) + timedelta(days=2))
    output = run("status", "spring-news", "--time-zone", "Europe/Paris").output
    assert "spring-news" in output
    assert "scheduled: starts" in output
    assert output.count("Europe/Paris") >= 3
    assert "3, of them 0 done (0 %)" in output


def test_programs_get_json(run, spring):
    spring("one")
    spring("two")
    found = json.loads(run("status", "one", "--json").output)
    assert (found["id"], found["state"], found["total"], found["counts"]["waiting"], found["done"]) == (
        "one", "running", 3, 3, 0,
    )  # fmt: skip
    lines = [json.loads(line) for line in run("status", "--json").output.splitlines()]
    assert {line["id"] for line in lines} == {"one", "two"}


def test_an_unknown_one_is_told_in_a_line(run):
    result = run("status", "nobody")
    assert result.exit_code == 1
    assert "no campaign 'nobody' in the ledger" in result.output


@pytest.mark.parametrize("arguments", [("--watch",), ("x", "--watch", "--json")])
def test_watching_wants_one_campaign_and_a_person(run, arguments):
    assert run("status", *arguments).exit_code == 2


def test_an_unknown_zone_is_wrong_usage(run):
    result = run("status", "--time-zone", "Europe/Pariss")
    assert result.exit_code == 2
    assert "Europe/Paris" in result.output


def test_watching_goes_on_until_the_end_and_tells_what_became_of_it(run, spring):
    spring()
    bulk.cancel("spring-news")
    result = run("status", "spring-news", "--watch")
    assert result.exit_code == 0
    assert (
        "spring-news: cancelled: who had not got it does not get it; 3 recipients: 0 sent, 0 refused, 3 cancelled"
        in (result.output)
    )


def test_whoever_stops_watching_learns_what_can_be_done(run, spring, monkeypatch):
    spring()

    def interrupted(*_arguments, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(following.bulk, "wait", interrupted)
    result = run("status", "spring-news", "--watch")
    assert result.exit_code == 130
    for line in ("spring-news goes on without you", "bulk status spring-news --watch", "bulk pause spring-news"):
        assert line in result.output
    assert bulk.status("spring-news").state == "running"


def test_quiet_hours_say_when_they_end_on_the_recipients_clocks(run, spring, ledger):
    zone = ZoneInfo("Asia/Kathmandu")
    now = datetime.now(zone)
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M} Asia/Kathmandu"
    spring(quiet=hours)
    ledger().campaigns.set_open_until("spring-news", time.time() - 1)
    assert "quiet hours" in run("status").output
    output = run("status", "spring-news").output
    assert "quiet hours; goes on " in output
    assert re.search(rf"{now + timedelta(hours=2):%H:%M} Asia/Kathmandu \(in (1 h 59 min|2 h)", output)
