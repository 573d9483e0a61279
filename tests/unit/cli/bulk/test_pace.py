"""The pace is that of the last seconds, and what is left follows from it."""

from __future__ import annotations

import pytest

from mailqueue.cli.bulk.pace import Pace


def pace(*looks, memory=15.0):
    made = Pace(memory)
    for now, done in looks:
        made.note(now, done)
    return made


def test_tells_nothing_before_it_can():
    assert Pace().rate is None
    assert pace((1.0, 0)).rate is None
    assert pace((1.0, 0), (1.0, 5)).rate is None
    assert pace((1.0, 0)).left(10) is None


def test_is_the_mean_of_what_it_remembers():
    assert pace((0, 0), (1, 100), (2, 400)).rate == 200
    assert pace((0, 0), (10, 0), (20, 1000), memory=10).rate == 100


def test_says_how_long_the_rest_takes():
    assert pace((0, 0), (2, 100)).left(200) == pytest.approx(2.0)
    assert pace((0, 50), (2, 50)).left(200) is None  # it stands still


@pytest.mark.parametrize("again", [(1.0, 500), (3.0, 10)])
def test_forgets_what_was_before_a_new_beginning(again):
    assert pace((0, 0), (2, 100), again).rate is None
