"""The bulk demo's own judgement can fail: each thing that it promises to check is seen when it is wrong."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest
from rich.console import Console

from mailqueue.cli.demo.campaign.findings import (
    Account,
    Findings,
    Held,
    Memory,
    account_of,
    held_against,
    notes,
    problems,
)
from mailqueue.cli.demo.campaign.material import Material, Person
from mailqueue.cli.demo.campaign.screen import Screen

GOOD = Findings(
    campaign="spring-news",
    recipients=1000,
    limit=100.0,
    state="finished",
    counts={"sent": 990, "failed": 4, "suppressed": 6},
    refused=4,
    suppressed=6,
    duplicates=2,
    duplicates_given=2,
    loading=0.5,
    sending=12.0,
    account=Account(expected=990, once=990, alike=990),
    paused_at=250,
    silent=2.0,
    child=11,
    child_at=450,
    worker=12,
    worker_at=650,
    unknown=3,
    unknown_arrived=2,
    held=Held(100.0, 99.5, 101.0, 8.0),
    urgent=[0.01] * 99 + [0.4],
    memory=Memory(
        before=1_000_000, loaded=1_150_000, peak=2_000_000, after=1_100_000, chunks=50_000, records=40_000, data=60_000
    ),
    pdf=50_000,
)


def but(**changes):
    return list(problems(dataclasses.replace(GOOD, **changes)))


def test_all_is_right():
    assert but() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "cancelled"}, "the campaign is cancelled, not finished"),
        ({"account": Account(990, 989, 0, 1, 0, 989)}, "1 recipients got no message"),
        ({"account": Account(990, 989, 1, 0, 0, 991)}, "1 recipients got more than one message"),
        ({"account": Account(990, 990, 0, 0, 1, 990)}, "1 messages for whom there should be none"),
        ({"account": Account(990, 990, 0, 0, 0, 989, 1)}, "1 messages differ"),
        ({"counts": {"sent": 990, "failed": 3, "suppressed": 6}}, "3 recipients are on record as failed, not 4"),
        ({"duplicates": 1}, "1 duplicates were found, not 2"),
        ({"in_silence": 1}, "1 messages of the campaign came while it was paused"),
        ({"child": 0}, "nobody was killed"),
        ({"urgent_lost": 1}, "1 urgent messages have not arrived"),
        ({"urgent": []}, "no urgent message was sent"),
        ({"urgent": [0.1] * 90 + [1.5] * 10}, "one in 20 urgent messages took 1.50 s and more"),
        ({"held": Held(100.0, 99.0, 103.0, 8.0)}, "103/s within 10 s, over the limit of 100/s"),
        ({"held": Held(100.0, 80.0, 99.0, 8.0, idle=0.5)}, "on a machine that had time left"),
        (
            {"recipients": 10_000, "memory": Memory(loaded=3_550_000, data=600_000)},
            "290 octets of store for each waiting recipient",
        ),
        ({"memory": Memory(records=130_000)}, "130 octets of store for each final record"),
    ],
)
def test_what_is_wrong_is_seen(changes, told):
    found = but(**changes)
    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize("held", [Held(100.0, 80.0, 99.0, 8.0, idle=0.1), Held(100.0, 80.0, 99.0, 8.0)])
def test_a_busy_machine_is_no_mistake_and_is_told(held):
    assert but(held=held) == []
    (note,) = notes(dataclasses.replace(GOOD, held=held))
    assert note.startswith("The limit was not reached on this machine")
    assert note.endswith("try --rate 60.")
    assert note in shown(dataclasses.replace(GOOD, held=held))


def test_too_short_a_time_says_nothing_of_a_mean():
    held = Held(100.0, 50.0, 99.0, 2.0, idle=0.9)
    assert but(held=held) == []
    assert not list(notes(dataclasses.replace(GOOD, held=held)))


def test_everybody_is_accounted_for():
    expected = {"a": "1", "b": "2", "c": "3", "d": "4"}
    arrived = [("a", "1"), ("b", "x"), ("c", "3"), ("c", "3"), ("stranger", "1")]
    assert account_of(expected, arrived) == Account(
        expected=4, once=2, twice=1, none=1, strangers=1, alike=3, different=1
    )


def test_a_limit_is_held_in_the_mean_and_in_the_busiest_window():
    times = [number / 100 for number in range(2000)]  # 100/s for 20 s
    held = held_against(100.0, times, [(1.0, 4.0), (5.0, 19.0)])
    assert held.mean == pytest.approx(100.0, rel=0.01)
    assert held.seconds == 17.0
    assert held.busiest == pytest.approx(100.0, rel=0.02)
    burst = sorted([*times, *[5.5] * 200])
    assert held_against(100.0, burst, [(1.0, 4.0)]).busiest == pytest.approx(120, rel=0.02)


def test_nothing_at_full_speed_is_no_division_by_nothing():
    assert held_against(100.0, [], []).mean == 0.0


def test_the_files_have_everybody_and_some_twice(tmp_path):
    material = Material(2000, tmp_path)
    with material.recipients.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2000 + sum(person.is_given_twice for person in material.people())
    assert len({row["address"].lower() for row in rows}) == 2000
    assert rows[1]["name"] == "Zoë 1"


def test_no_two_messages_look_alike(tmp_path):
    material = Material(500, tmp_path)
    assert len({material.likeness(person) for person in material.people()}) == 500


def test_who_is_refused_is_not_suppressed_as_well():
    assert not [number for number in range(100_000) if Person(number).is_refused and Person(number).is_suppressed]


def shown(found, wrong=()):
    file = io.StringIO()
    Screen(1000, Console(file=file, width=120, highlight=False)).report(found, wrong)
    return file.getvalue()


def test_the_last_screen_tells_all_of_it():
    text = shown(GOOD)
    for line in (
        "990 of 990 have one message, 0 none, 0 more than one",
        "990 of 990 say what they should, with a PDF of 49 KB",
        "4 refused by the relay, 6 on the suppression list",
        "child 11 at 450, worker 12 at 650",
        "3 answers lost with them: 2 had arrived, 1 was sent again",
        "100/s for the fleet: 99.5/s at full speed (99.5%),",
        "101.0/s in the busiest 10 s (101.0%)",
        "100 meanwhile: p50 10.0 ms, p95 10.0 ms, longest 400.0 ms",
        "150 octets a waiting recipient (its data: 60), 40 a final record",
        "All of it is right.",
    ):
        assert line in text
    assert "WRONG" not in text


def test_the_last_screen_fits_a_usual_terminal():
    big = dataclasses.replace(GOOD, recipients=1_000_000, paused_at=150_000, child_at=300_000, worker_at=450_000)
    assert max(map(len, map(str.rstrip, shown(big).splitlines()))) <= 80


def test_the_last_screen_tells_what_is_wrong():
    text = shown(GOOD, [f"thing {number}" for number in range(25)])
    assert "WRONG: thing 19" in text
    assert "and 5 more" in text
    assert "All of it is right" not in text
