"""How a campaign is told of: its counts, what it waits for, and when things happen, on people's clocks."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mailqueue.bulk.hours import QuietHours
from mailqueue.bulk.spec import decode_options
from mailqueue.cli.times import span
from mailqueue.ledger.campaigns import CampaignState
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from datetime import tzinfo

    from mailqueue.bulk.report import CampaignStatus

__all__ = ["COLOURS", "NAMES", "Clock", "brief", "counted", "done", "percent", "sentence", "tallies"]

#: What a sender calls the states in which recipients are counted; several may have one name.
NAMES: Final = {
    "sent": ("sent", "partial"),
    "refused": ("failed",),
    "suppressed": ("suppressed",),
    "deferred": ("deferred",),
    "unknown": ("unknown",),
    "held": ("held",),
    "expired": ("expired",),
    "cancelled": ("cancelled",),
    "sending": ("scheduled", "queued", "sending"),
    "parked": ("parked",),
    "waiting": ("waiting",),
}
#: Told even when there are none: their absence is news.
_ALWAYS: Final = ("sent", "refused")
COLOURS: Final = {
    "sent": "green",
    "refused": "red",
    "expired": "red",
    "deferred": "yellow",
    "unknown": "magenta",
    "held": "magenta",
    "suppressed": "cyan",
    "parked": "yellow",
}


class Clock:
    """Moments (s since the epoch) on the clocks of one zone; None: those of this host."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone

    def __call__(self, moment: float, now: float) -> str:
        """``moment`` as briefly as it is clear at ``now``, with its zone."""
        when, today = self._at(moment), self._at(now)
        days = abs((when.date() - today.date()).days)
        day = "" if not days else f"{when:%A} " if days < 7 else f"{when:%Y-%m-%d} "
        return f"{day}{when:%H:%M}{_seconds(when)} {self._name(when)}"

    def full(self, moment: float) -> str:
        """``moment`` with its date and zone."""
        when = self._at(moment)
        return f"{when:%Y-%m-%d %H:%M:%S} {self._name(when)}"

    def _at(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, self._zone or UTC).astimezone(self._zone)

    def _name(self, when: datetime) -> str:
        return self._zone.key if isinstance(self._zone, zoneinfo.ZoneInfo) else when.tzname() or f"{when:%z}"


def _seconds(when: datetime) -> str:
    return f":{when:%S}" if when.second else ""


def done(status: CampaignStatus) -> int:
    """Recipients to whom nothing more happens by itself."""
    return round(status.done * status.total)


def percent(status: CampaignStatus) -> str:
    """The part of them that is done: 100 % only when all are."""
    return f"{int(status.done * 100)} %"


def tallies(status: CampaignStatus) -> dict[str, int]:
    """The counts under their names for people, those that are worth telling."""
    found = {name: sum(status.counts.get(word, 0) for word in words) for name, words in NAMES.items()}
    return {name: number for name, number in found.items() if number or name in _ALWAYS}


def brief(status: CampaignStatus) -> dict[str, int]:
    """The same for one line: whoever's turn is still to come is one number."""
    found = tallies(status)
    left = sum(found.pop(name, 0) for name in ("sending", "parked", "waiting"))
    return found | ({"to go": left} if left else {})


def counted(number: int, noun: str = "recipient") -> str:
    """``1 recipient``, ``50,000 recipients``."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def sentence(status: CampaignStatus, clock: Clock | None = None) -> str:
    """What the campaign does or waits for, in words; empty while it simply runs."""
    told = ""
    match status.state:
        case CampaignState.LOADING:
            told = "its recipients are being loaded; nothing is sent yet"
        case CampaignState.SCHEDULED if status.start_at is not None:
            told = f"starts {_when(status.start_at, status.now, clock or Clock())}"
        case CampaignState.PAUSED:
            told = f"paused; `mailqueue bulk resume {status.id}` goes on with the next recipient"
        case CampaignState.RUNNING if status.quiet:
            told = f"quiet hours; goes on {_opening(status)}"
        case CampaignState.FINISHED:
            told = f"finished{_took(status)}"
        case CampaignState.CANCELLED | CampaignState.EXPIRED:
            told = f"{status.state}: who had not got it does not get it"
    return told


def _took(status: CampaignStatus) -> str:
    if status.started_at is None or status.ended_at is None:
        return ""
    return f" after {span(max(0.1, round(status.ended_at - status.started_at, 1)))}"


def _when(moment: float, now: float, clock: Clock) -> str:
    return f"{clock(moment, now)} (in {span(max(1.0, moment - now))})"


def _opening(status: CampaignStatus) -> str:
    """When its quiet hours end: on the clocks of their own zone, which is that of the recipients."""
    text = _quiet_hours(status.id)
    if not text:
        return "soon"
    hours = QuietHours.parse(text)
    quiet, change = hours.next_change(status.now)
    return _when(change, status.now, Clock(hours.zone)) if quiet else "in a moment"


def _quiet_hours(campaign: str) -> str:
    return decode_options(get_producer().ledger.campaigns.get(campaign).spec).quiet
