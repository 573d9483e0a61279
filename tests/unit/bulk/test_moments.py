"""When a crontab expression is due, on the clocks of its zone, also in the nights in which these are put forward or back."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from mailqueue.bulk.moments import GRACE, next_moment, turn
from mailqueue.errors import InvalidMessage

BERLIN = "Europe/Berlin"


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def after(expression, text, zone=BERLIN):
    """The next moment after a local time, as a local time with its offset."""
    return datetime.fromtimestamp(next_moment(expression, zone, at(text, zone)), ZoneInfo(zone)).isoformat(
        " ", "minutes"
    )


@pytest.mark.parametrize(
    ("expression", "now", "expected"),
    [
        ("0 9 * * mon", "2026-01-01 12:00", "2026-01-05 09:00+01:00"),  # a Thursday
        ("0 9 * * mon", "2026-01-05 09:00", "2026-01-12 09:00+01:00"),
        ("0 9 * * mon", "2026-01-05 08:59", "2026-01-05 09:00+01:00"),
        ("*/15 * * * *", "2026-01-01 12:01", "2026-01-01 12:15+01:00"),
        ("0 0 1 * *", "2026-01-31 23:59", "2026-02-01 00:00+01:00"),
        ("30 6 29 2 *", "2026-01-01 00:00", "2028-02-29 06:30+01:00"),
        ("0 8,18 * * 1-5", "2026-01-02 18:00", "2026-01-05 08:00+01:00"),
        ("0   9  * * 1", "2026-01-01 12:00", "2026-01-05 09:00+01:00"),
    ],
)
def test_it_is_due_when_the_expression_says(expression, now, expected):
    assert after(expression, now) == expected


@pytest.mark.parametrize(
    ("expression", "now", "expected"),
    [
        # Forward on 29 March 2026, from 2 to 3.
        ("0 9 * * *", "2026-03-28 09:00", "2026-03-29 09:00+02:00"),
        ("30 2 * * *", "2026-03-28 02:30", "2026-03-29 03:30+02:00"),
        ("30 2 * * *", "2026-03-29 03:30", "2026-03-30 02:30+02:00"),
        ("*/30 * * * *", "2026-03-29 01:30", "2026-03-29 03:00+02:00"),
        # Back on 25 October 2026, from 3 to 2.
        ("0 9 * * *", "2026-10-24 09:00", "2026-10-25 09:00+01:00"),
        ("30 2 * * *", "2026-10-24 02:30", "2026-10-25 02:30+02:00"),
        ("30 2 * * *", "2026-10-25 02:30", "2026-10-26 02:30+01:00"),
        ("*/30 * * * *", "2026-10-25 02:30", "2026-10-25 03:00+01:00"),
    ],
)
def test_the_nights_of_the_clocks_have_each_moment_once(expression, now, expected):
    assert after(expression, now) == expected


def test_of_an_hour_that_comes_twice_the_second_is_none_of_its_own():
    second = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo(BERLIN), fold=1).timestamp()
    found = datetime.fromtimestamp(next_moment("30 2 * * *", BERLIN, second), ZoneInfo(BERLIN))
    assert found.isoformat(" ", "minutes") == "2026-10-26 02:30+01:00"


def test_moments_of_a_year_grow_and_come_to_an_end():
    """Whatever the clocks do, there is always a later one."""
    moment, count = at("2026-01-01 00:00"), 0
    while moment < at("2027-01-01 00:00"):
        following = next_moment("15 */6 * * *", BERLIN, moment)
        assert following > moment
        moment, count = following, count + 1
    assert count == 365 * 4 + 1


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * *", "4 fields"),
        ("0 9 * * someday", "Invalid weekday"),
        ("61 * * * *", "61"),
        ("0 9 30 2 *", "crontab"),
        ("", "0 fields"),
    ],
)
def test_what_is_no_expression_is_told(expression, words):
    with pytest.raises(InvalidMessage, match=words):
        next_moment(expression, BERLIN, 0.0)


def test_an_unknown_zone_is_told_with_the_one_that_is_like_it():
    with pytest.raises(InvalidMessage, match="did you mean Europe/Berlin"):
        next_moment("0 9 * * *", "Europe/Berlim", 0.0)


# -- after an outage


def local(moment):
    return None if moment is None else datetime.fromtimestamp(moment, ZoneInfo(BERLIN)).strftime("%d %H:%M")


def daily(due, now, catch_up):
    found = turn("0 9 * * *", BERLIN, due=at(due), now=at(now), catch_up=catch_up)
    return local(found.moment), local(found.following)


@pytest.mark.parametrize("catch_up", ["skip", "once"])
def test_what_is_due_now_is_started(catch_up):
    assert daily("2026-01-05 09:00", "2026-01-05 09:00", catch_up) == ("05 09:00", "06 09:00")
    late = at("2026-01-05 09:00") + GRACE - 1
    assert turn("0 9 * * *", BERLIN, due=at("2026-01-05 09:00"), now=late, catch_up=catch_up).moment


def test_what_was_missed_is_left_out():
    assert daily("2026-01-05 09:00", "2026-01-08 12:00", "skip") == (None, "09 09:00")


def test_what_was_missed_is_made_up_for_once():
    assert daily("2026-01-05 09:00", "2026-01-08 12:00", "once") == ("08 09:00", "09 09:00")


def test_after_an_outage_that_ends_in_time_the_last_one_is_not_missed():
    assert daily("2026-01-05 09:00", "2026-01-08 09:01", "skip") == ("08 09:00", "09 09:00")


def test_after_a_long_outage_it_does_not_go_through_every_minute():
    found = turn("* * * * *", BERLIN, due=at("2026-01-01 00:00"), now=at("2026-12-31 12:00"), catch_up="skip")
    assert found.moment is None
    assert local(found.following) == "31 12:01"
