"""How much of a campaign may be under way: little enough to be paused, as much as its relays take, domain by domain.

Leaves the limits themselves to whoever sends (``pace``, ``portions``): what is fed too early waits there.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.limits import LimitsOfRelays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mailqueue.ledger.campaigns import CampaignEntry
    from mailqueue.ledger.rates import Rates

__all__ = ["AHEAD", "PIECE", "ROOM", "Allowances", "Paces"]

#: Messages of one campaign that are queued or being sent, at most: what a fleet sends in a second or two. What is there
#: when it is paused is set aside, message by message, when its turn comes.
ROOM: Final = 2000
#: s of a limited relay's rate that are fed ahead, those that wait for their time included: of mail that is refused for
#: now, which waits for minutes, so much may be under way that the rate is still made use of.
AHEAD: Final = 60.0
#: Recipients of a domain with a pace of its own that are fed together, or those of 20 s, if these are more.
PIECE: Final = 50
_PIECE_SECONDS: Final = 20.0
_LOOK: Final = 2.0  # s between two looks at the limits in force
_ANY: Final = frozenset({"", "*"})  # what a pace may be of that is no domain of a name


@dataclass(frozen=True, slots=True)
class Paces:
    """What goes through a campaign's relays, in messages a second: in all, and to the domains that have their own pace."""

    relays: float = math.inf
    domains: Mapping[str, float] = field(default_factory=dict)

    def is_full(self, entry: CampaignEntry, room: int) -> bool:
        """Whether enough of the campaign is under way."""
        counts = entry.counts
        going = counts.get("queued", 0) + counts.get("sending", 0)
        if going >= room:
            return True
        return going + counts.get("deferred", 0) >= max(PIECE, AHEAD * self.relays)


class Allowances:
    """Knows the paces of relays, and shares out the recipients of domains that have one. For one thread.

    Args:
        rates: The accounts of the fleet.
        now: s since the epoch, for what the limits are today.
        clock: Monotonic, in s.
    """

    def __init__(
        self, rates: Rates, *, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates = rates
        self._now = now
        self._clock = clock
        self._limits = LimitsOfRelays()
        self._known: dict[str, tuple[float, Mapping[str, float]]] = {}
        self._saved: dict[tuple[str, str], tuple[float, float]] = {}  # of a campaign's domain: recipients, and when

    def paces(self, relays: Iterable[str]) -> Paces:
        """The paces of a campaign that goes through ``relays``. Raises LedgerUnavailable."""
        limited = [self._limited(relay) for relay in relays]
        in_all = sum(each.get("", math.inf) for each in limited)
        names = {name for each in limited for name in each} - _ANY
        domains = {name: sum(each.get(name, math.inf) for each in limited) for name in names}
        return Paces(in_all, {name: rate for name, rate in domains.items() if rate < math.inf})

    def _limited(self, relay: str) -> Mapping[str, float]:
        now = self._clock()
        looked_at, limited = self._known.get(relay, (-math.inf, {}))
        if now - looked_at >= _LOOK:
            limited = self._rates.limited(relay, self._limits.of(relay, self._now()))
            self._known[relay] = now, limited
        return limited

    def piece(self, campaign: str, domain: str, rate: float, waiting: int) -> int:
        """How many of ``waiting`` recipients of ``domain`` are to be fed now, at so many a second; 0: not yet any."""
        most = max(float(PIECE), rate * _PIECE_SECONDS)
        now = self._clock()
        saved, since = self._saved.get((campaign, domain), (most, now))
        saved = min(most, saved + rate * (now - since))
        count = min(waiting, int(most))
        if saved < count:
            count = 0
        self._saved[campaign, domain] = saved - count, now
        return count

    def forget(self, campaign: str) -> None:
        """The campaign has ended."""
        for key in [key for key in self._saved if key[0] == campaign]:
            del self._saved[key]
