"""When a drain looks for mail in higher lanes, and what it makes of it."""

from __future__ import annotations

import pytest

from workers.lookout import LOOK_AGAIN, LOOK_EVERY, Lookout


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def looks(tap):
    """What was looked for, and when; nothing is there."""
    found = []
    tap.waiting = lambda lanes: found.append(list(lanes)) or False
    return found


def test_it_looks_for_all_lanes_above(process, clock, looks):
    lookout = Lookout(process, "bulk", clock)
    clock.now += LOOK_EVERY
    assert not lookout.sees_mail()
    assert looks == [["urgent", "default"]]


def test_it_sees_what_is_there(process, clock, tap):
    lookout = Lookout(process, "bulk", clock)
    tap.full.add("default")
    assert not lookout.sees_mail()  # Celery has looked a moment ago
    clock.now += LOOK_EVERY
    assert lookout.sees_mail()


def test_it_looks_no_more_often_than_a_person_notices(process, clock, looks):
    lookout = Lookout(process, "bulk", clock)
    for _ in range(100):
        clock.now += LOOK_EVERY / 10
        lookout.sees_mail()
    assert 9 <= len(looks) <= 10


@pytest.mark.parametrize("lane", ["urgent", "somebody-elses"])
def test_with_nothing_above_it_never_looks(process, clock, looks, lane):
    lookout = Lookout(process, lane, clock)
    clock.now += 100
    assert not lookout.sees_mail()
    assert looks == []


def test_a_look_that_failed_is_not_repeated_for_a_while(process, clock, tap, monkeypatch):
    tries, dropped = [], []
    tap.waiting = lambda lanes: tries.append(lanes) or 1 / 0
    monkeypatch.setattr(process, "drop_tap", lambda: dropped.append(True))
    lookout = Lookout(process, "bulk", clock)
    clock.now += LOOK_EVERY
    assert not lookout.sees_mail()
    clock.now += LOOK_AGAIN - 0.01
    assert not lookout.sees_mail()
    assert (len(tries), len(dropped)) == (1, 1)
    clock.now += 0.02
    assert not lookout.sees_mail()
    assert len(tries) == 2
