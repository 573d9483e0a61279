"""Quiet hours: when they are, on the clocks of their zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from mailqueue.bulk.hours import QuietHours
from mailqueue.errors import InvalidMessage

NIGHT = "22:00-07:00 Europe/Berlin"
NOON = "12:00-13:30 Europe/Berlin"


def change(text, now):
    zone = ZoneInfo("Europe/Berlin")
    quiet, until = QuietHours.parse(text).next_change(datetime.fromisoformat(now).replace(tzinfo=zone).timestamp())
    return quiet, datetime.fromtimestamp(until, zone).isoformat(" ", "minutes")


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        (NIGHT, "2026-01-05 12:00", (False, "2026-01-05 22:00+01:00")),
        (NIGHT, "2026-01-05 22:00", (True, "2026-01-06 07:00+01:00")),
        (NIGHT, "2026-01-06 00:30", (True, "2026-01-06 07:00+01:00")),
        (NIGHT, "2026-01-06 07:00", (False, "2026-01-06 22:00+01:00")),
        (NOON, "2026-01-05 11:59", (False, "2026-01-05 12:00+01:00")),
        (NOON, "2026-01-05 13:00", (True, "2026-01-05 13:30+01:00")),
        (NOON, "2026-01-05 13:30", (False, "2026-01-06 12:00+01:00")),
        (NIGHT, "2026-03-28 23:00", (True, "2026-03-29 07:00+02:00")),  # the clocks are put forward
        (NIGHT, "2026-10-24 23:00", (True, "2026-10-25 07:00+01:00")),  # and back
        ("02:15-02:45 Europe/Berlin", "2026-03-29 01:00", (False, "2026-03-29 03:15+02:00")),  # is left out that night
    ],
)
def test_it_is_quiet_when_it_says(text, now, expected):
    assert change(text, now) == expected


def test_they_are_written_as_they_are_read():
    assert str(QuietHours.parse(" 9:05 - 17:00   Europe/Berlin ")) == "09:05-17:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("22:00-07:00", "no time zone"),
        ("22-7 Europe/Berlin", "from when until when"),
        ("25:00-07:00 Europe/Berlin", "hour must be"),
        ("22:00-22:00 Europe/Berlin", "begin when they end"),
        ("22:00-07:00 Europe/Berlim", "did you mean Europe/Berlin"),
        ("22:00-07:00 Europe", "no time zone is called"),
        ("", "from when until when"),
    ],
)
def test_what_cannot_be_is_told(text, words):
    with pytest.raises(InvalidMessage, match=words):
        QuietHours.parse(text)
