"""When something that recurs is due: a crontab expression, read by Celery's own parser, on the clocks of one zone."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, NamedTuple

from celery.schedules import ParseException, crontab

from mailqueue.bulk.hours import zone_of
from mailqueue.errors import InvalidMessage

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["GRACE", "Turn", "next_moment", "read_crontab", "turn"]

#: s that a due moment may lie back without being missed: a worker is restarted in less.
GRACE: Final = 300.0
#: Moments that are stepped through after an outage: of an expression for every minute, those of a week.
_STEPS: Final = 10_000


class Turn(NamedTuple):
    """What is to be done for a schedule that is due: the moment to start it for, if any, and when it is due next."""

    moment: float | None
    following: float


@functools.lru_cache(maxsize=256)
def read_crontab(expression: str, zone: ZoneInfo) -> crontab:
    """The five fields of ``expression``; raises InvalidMessage for what is none."""
    fields = expression.split()
    if len(fields) != 5:
        raise InvalidMessage(
            f"crontab {expression!r} has {len(fields)} fields: write minute, hour, day of the month, month and day of "
            "the week, as in '0 9 * * mon'"
        )
    try:
        made = crontab.from_string(" ".join(fields))
    except (ParseException, ValueError) as error:
        raise InvalidMessage(f"crontab {expression!r}: {error}") from None
    made.app = SimpleNamespace(timezone=zone)  # all that it asks of one
    return made


def next_moment(expression: str, time_zone: str, after: float) -> float:
    """The first moment later than ``after`` (s since the epoch) that ``expression`` names on the clocks of ``time_zone``.

    A time that the clocks leave out in spring comes when they have just been put forward; one that they show twice in
    autumn counts the first time.

    Raises:
        InvalidMessage: for an expression or a zone that is none.
    """
    zone = zone_of(time_zone)
    made = read_crontab(expression, zone)
    made.nowfun = lambda: datetime.now(UTC)  # asked for, and not used for what comes next
    when = datetime.fromtimestamp(after, zone)
    for _ in range(3):  # what a clock shows twice, or not at all, may lead to a moment that is no later
        last, delta, _now = made.remaining_delta(when, tz=zone)
        when = (last + delta).replace(fold=0)
        moment: float = when.timestamp()
        if moment > after:
            return moment
        when += timedelta(minutes=1)
    raise AssertionError(f"no moment after {after} for {expression!r} in {time_zone}")


def turn(expression: str, time_zone: str, *, due: float, now: float, catch_up: str) -> Turn:
    """What to do at ``now`` about what was due at ``due``, and perhaps several times since.

    What was missed for longer than GRACE is left out if ``catch_up`` is "skip"; if it is "once", the last moment of
    those missed is made up for.
    """
    moment = due
    for _ in range(_STEPS):
        following = next_moment(expression, time_zone, moment)
        if following > now:
            break
        moment = following
    else:
        following = next_moment(expression, time_zone, now)
    if catch_up == "skip" and now - moment > GRACE:
        return Turn(None, following)
    return Turn(moment, following)
