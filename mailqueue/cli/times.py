"""Times and durations as operators write and read them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import click

__all__ = ["LOCAL_WHEN", "WHEN", "clock", "moment", "span"]

_UNITS: Final = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_SPAN: Final = re.compile(r"(?:\s*\d+\s*(?:d|h|min|s)\b)+\s*")


class _When(click.ParamType):  # type: ignore[type-arg] # generic in the newest click alone
    """A moment with its zone, or a duration, in the units of ``span``.

    Args:
        local: Another option names the zone of a moment that has none.
    """

    name = "when"

    def __init__(self, *, local: bool = False) -> None:
        self._local = local

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        try:
            if _SPAN.fullmatch(value):
                return timedelta(
                    seconds=sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)\s*([a-z]+)", value))
                )
            found = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time: write 30min, 2h, or a moment such as {_here(datetime.now(UTC))}", param, ctx
            )
        if found.utcoffset() is None and not self._local:
            self.fail(f"{value!r} has no time zone; on this host it is {_here(found)}", param, ctx)
        return found


WHEN: Final = _When()
LOCAL_WHEN: Final = _When(local=True)


def _here(when: datetime) -> str:
    return when.astimezone().isoformat(timespec="seconds")


def moment(when: datetime | timedelta | None, zone: tzinfo | None = None) -> datetime | None:
    """A moment, of what may be a duration from now, or on the clocks of ``zone``; UsageError for one without any zone."""
    if isinstance(when, timedelta):
        return datetime.now(UTC) + when
    if when is None or when.utcoffset() is not None:
        return when
    if zone is None:
        raise click.UsageError(f"{when} has no time zone: give --time-zone, or write {_here(when)}")
    return when.replace(tzinfo=zone)


def clock(seconds: float) -> str:
    """A moment (s since the epoch) in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def span(seconds: float) -> str:
    """A duration in its two largest units: ``4 h 30 min``."""
    left = round(seconds)
    if left < 1:
        return f"{seconds:g} s"
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
