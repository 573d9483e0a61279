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

__all__ = ["AHEAD", "ASIDE", "LEAST", "PIECE_SECONDS", "ROOM", "Allowances", "Paces", "piece"]

#: Messages of one campaign that are queued or being sent, at most: what a fleet sends in a second or two. What is there
#: when it is paused is set aside, message by message, when its turn comes.
ROOM: Final = 2000
#: s of a limited relay's rate that are fed ahead, those that wait for their time included.
AHEAD: Final = 60.0
#: Messages under way of one campaign, at least, however slow its relay is.
LEAST: Final = 50
#: Messages that wait for their time unsent, at most, at relays without a limit: while the relay is in trouble, or for
#: domains that are slowed. A message takes five times the room of a recipient who waits in a chunk.
ASIDE: Final = 10_000
#: s of the rate of a domain with a pace of its own that are fed together, and what of them passes until the next look.
PIECE_SECONDS: Final = 10.0
_LATE: Final = 0.25
_LOOK: Final = 2.0  # s between two looks at the limits in force
_ANY: Final = frozenset({"", "*"})  # what a pace may be of that is no domain of a name


@dataclass(frozen=True, slots=True)
class Paces:
    """What goes through a campaign's relays, in messages a second: in all, and to the domains that have their own pace."""

    relays: float = math.inf
    domains: Mapping[str, float] = field(default_factory=dict)

    def room(self, entry: CampaignEntry, most: int = ROOM) -> int:
        """How many more of the campaign may be under way; 0 or less: none.

        Those that were refused for now, and wait for minutes or hours, take nobody's room: their turn has been.
        """
        counts = entry.counts
        going = counts.get("queued", 0) + counts.get("sending", 0)
        aside = max(0, counts.get("deferred", 0) - entry.retried)
        ahead = max(LEAST, int(AHEAD * self.relays)) if self.relays < math.inf else ASIDE
        return min(most - going, ahead - going - aside)


def piece(rate: float, waiting: int) -> tuple[int, float]:
    """How many of ``waiting`` recipients of a domain are fed together, at so many a second, and how long it rests then."""
    count = min(waiting, max(1, int(rate * PIECE_SECONDS)))
    return count, max(0.0, count / rate - _LATE)


class Allowances:
    """Knows the paces of relays. For one thread.

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
