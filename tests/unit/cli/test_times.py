"""Moments and durations as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from mailqueue.cli.times import WHEN, span


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.25, "0.25 s"),
        (1, "1 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (14400, "4 h"),
        (432000, "5 d"),
        (90061, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, told):
    assert span(seconds) == told


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("30min", timedelta(minutes=30)),
        ("2 h", timedelta(hours=2)),
        ("1 d 12 h", timedelta(days=1.5)),
        ("2026-12-24T18:00+01:00", datetime(2026, 12, 24, 18, tzinfo=timezone(timedelta(hours=1)))),
        ("2026-12-24 18:00:30Z", datetime(2026, 12, 24, 18, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_moment_with_its_zone_or_a_duration(said, meant):
    assert WHEN.convert(said, None, None) == meant


@pytest.mark.parametrize("said", ["", "soon", "10", "5 parsecs", "-2h", "2026-12-24T25:00Z", "99999999999999d"])
def test_what_is_no_time_is_told_with_what_would_be_one(said):
    with pytest.raises(click.BadParameter, match="30min, 2h, or a moment such as 20"):
        WHEN.convert(said, None, None)


def test_a_moment_without_its_zone_is_told_with_the_one_that_may_be_meant():
    with pytest.raises(click.BadParameter) as caught:
        WHEN.convert("2026-12-24T18:00", None, None)
    here = datetime(2026, 12, 24, 18).astimezone()
    assert f"no time zone; on this host it is {here.isoformat()}" in str(caught.value)
