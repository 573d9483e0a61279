"""Quiet hours: the part of each day in which a campaign rests, in the time of one zone."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from mailqueue.conf.nearest import nearest
from mailqueue.errors import InvalidMessage

__all__ = ["QuietHours", "zone_of"]

_FORM: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})(?:\s+(\S+))?")
_EXAMPLE: Final = "22:00-07:00 Europe/Paris"


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """The time zone called ``name``; raises InvalidMessage for one that is unknown, with the name most like it."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory of zones
        known = zoneinfo.available_timezones()
        hint = nearest(name, known) if known else "; this host has no zones at all: install tzdata"
        raise InvalidMessage(f"no time zone is called {name!r}{hint}") from None


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From ``start`` until ``end`` on the clocks of ``zone`` nothing is sent; over midnight if ``end`` comes first.

    An hour that a zone's clocks leave out or show twice makes that night's quiet shorter or longer, as it does people's.
    """

    start: time
    end: time
    zone: zoneinfo.ZoneInfo

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Read ``22:00-07:00 Europe/Paris``; raises InvalidMessage, which says what is wrong with it."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise InvalidMessage(f"quiet hours {text!r}: write from when until when, and where, as in {_EXAMPLE!r}")
        zone = found[5]
        if zone is None:
            raise InvalidMessage(f"quiet hours {text!r} have no time zone: write it behind them, as in {_EXAMPLE!r}")
        try:
            start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
        except ValueError as trouble:
            raise InvalidMessage(f"quiet hours {text!r}: {trouble}") from None
        if start == end:
            raise InvalidMessage(f"quiet hours {text!r} begin when they end: no time would be left, or all of it")
        return cls(start, end, zone_of(zone))

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone.key}"

    def next_change(self, now: float) -> tuple[bool, float]:
        """Whether it is quiet at ``now``, and when that changes. Times are s since the epoch."""
        today = datetime.fromtimestamp(now, self.zone).date()
        for days in (-1, 0, 1, 2):
            day = today + timedelta(days=days)
            over_midnight = self.end < self.start
            begin = datetime.combine(day, self.start, self.zone).timestamp()
            end = datetime.combine(day + timedelta(days=over_midnight), self.end, self.zone).timestamp()
            if now < begin < end:
                return False, begin
            if begin <= now < end:
                return True, end
        raise AssertionError("no quiet hours in three days")
