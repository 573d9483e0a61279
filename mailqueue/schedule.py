"""When a message may be sent: not before ``send_at``, and not from ``expires_at`` on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mailqueue.errors import InvalidMessage

__all__ = ["ANY_TIME", "Schedule", "schedule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times in s since the epoch, 0.0 for none; ``lasts`` is in s, from when the message may be sent."""

    send_at: float = 0.0
    expires_at: float = 0.0
    lasts: float = 0.0

    def expiry(self, now: float) -> float:
        """From when on a message that is enqueued now is not to be sent any more; 0.0 is never."""
        return max(now, self.send_at) + self.lasts if self.lasts else self.expires_at


ANY_TIME: Final = Schedule()


def schedule(send_at: datetime | None, expires_at: datetime | timedelta | None) -> Schedule:
    """The schedule that the options of ``enqueue()`` stand for; ``timedelta`` counts from when it may be sent.

    Raises:
        InvalidMessage: a ValueError; for a time without a zone, and for a message that could never be sent.
        TypeError: for what is no time.
    """
    if send_at is None and expires_at is None:
        return ANY_TIME
    begin = 0.0 if send_at is None else _moment("send_at", send_at)
    if isinstance(expires_at, timedelta):
        if expires_at <= timedelta():
            raise InvalidMessage(f"expires_at is {expires_at}: a message that has expired already is never sent")
        return Schedule(begin, lasts=expires_at.total_seconds())
    end = 0.0 if expires_at is None else _moment("expires_at", expires_at, " or a timedelta")
    if 0 < end <= begin:
        raise InvalidMessage(f"expires_at ({expires_at}) is not after send_at ({send_at}): it would never be sent")
    return Schedule(begin, end)


def _moment(name: str, value: object, more: str = "") -> float:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is a datetime with a time zone{more}, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidMessage(
            f"{name} ({value}) has no time zone, so that nobody knows which moment it is: make it aware, as in "
            "datetime.now(timezone.utc) + timedelta(hours=1), value.replace(tzinfo=ZoneInfo('Europe/Paris')), or "
            "django.utils.timezone.make_aware(value)"
        )
    return value.timestamp()
