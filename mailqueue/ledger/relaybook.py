"""The relays in trouble, in memory: who may ask them, and when. The twin of ``lua/relays.lua`` and of its users.

Leaves the lock and the clock to ``memory``. Times are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mailqueue.ledger import rules
from mailqueue.ledger.base import RelayMark, Setback

__all__ = ["RelayBook"]

_PROBE_WAIT: Final = rules.milliseconds(rules.PROBE_WAIT)
_LATCHED_WAIT: Final = rules.milliseconds(rules.LATCHED_WAIT)


@dataclass(slots=True)
class _Trouble:
    """One relay. ``times`` is 0 while it is only latched."""

    since: int = 0
    until: int = 0
    wait: int = 0
    times: int = 0
    reason: str = ""
    prober: str = ""
    probing: int = 0  # until when
    latched: set[str] = field(default_factory=set)

    def left(self, now: int) -> int:
        """How long it is still to be left alone. What ends later than it was long was given on another clock."""
        left = self.until - now
        return max(0, left) if left <= self.wait else 0

    def over(self) -> None:
        """Whatever it was besides bad credentials."""
        self.until = self.wait = self.times = self.probing = 0
        self.prober = ""


class RelayBook:
    """What the fleet knows of relays in trouble."""

    def __init__(self, lease: int) -> None:
        self._lease = lease
        self._troubles: dict[str, _Trouble] = {}

    def trouble(self, relay: str, owner: str, delay: int, longest: int, latch: str, reason: str, now: int) -> Setback:
        """``owner`` has met trouble."""
        known = self._troubles.get(relay) or _Trouble()
        if latch in known.latched:
            return Setback(rules.LATCHED_WAIT, news=False)
        if latch:
            self._troubles[relay] = known
            known.over()  # it was reached; only these settings are the trouble
            known.latched.add(latch)
            known.since, known.reason = now, reason
            return Setback(rules.LATCHED_WAIT, news=True)
        left = known.left(now)
        if left > 0:
            return Setback(left / 1000, news=False)
        if self._is_probed(known, owner, now):
            return Setback(min(_PROBE_WAIT, known.probing - now) / 1000, news=False)
        self._troubles[relay] = known
        news = known.times == 0
        if news:
            known.since = now
        known.wait = int(min(longest, delay * 2 ** min(known.times, 30)))
        known.times += 1
        known.until, known.reason = now + known.wait, reason
        known.prober, known.probing = "", 0
        return Setback(known.wait / 1000, news=news)

    def probe(self, relay: str, owner: str, fingerprint: str, now: int) -> float:
        """How long ``owner`` has to wait, in s; 0.0 makes it the prober."""
        known = self._troubles.get(relay)
        if known is None:
            return 0.0
        if fingerprint in known.latched:
            return rules.LATCHED_WAIT
        if known.times == 0:
            return 0.0
        left = known.left(now)
        if left > 0:
            return left / 1000
        if self._is_probed(known, owner, now):
            return min(_PROBE_WAIT, known.probing - now) / 1000
        known.prober, known.probing = owner, now + self._lease
        return 0.0

    def recovered(self, relay: str, *, by_hand: bool) -> bool:
        """It has answered; whether that ends any trouble."""
        known = self._troubles.get(relay)
        if known is None:
            return False
        if by_hand or not known.latched:
            del self._troubles[relay]
            return True
        was_down = known.times > 0
        known.over()
        return was_down

    def states(self, now: int) -> dict[str, RelayMark]:
        """All of them."""
        return {
            relay: RelayMark(
                relay,
                since=known.since / 1000,
                until=known.until / 1000,
                times=known.times,
                reason=known.reason,
                prober=known.prober if self._is_probed(known, "", now) else "",
                latched=tuple(sorted(known.latched)),
            )
            for relay, known in self._troubles.items()
        }

    def _is_probed(self, known: _Trouble, owner: str, now: int) -> bool:
        """Whether another than ``owner`` is asking it just now."""
        return bool(known.prober) and known.prober != owner and now < known.probing <= now + self._lease
