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
    over: str = ""  # the message that it was over the last time, if it was one
    reason: str = ""
    prober: str = ""
    probing: int = 0  # until when
    latched: dict[str, int] = field(default_factory=dict)  # fingerprint -> since when

    def left(self, now: int) -> int:
        """How long it is still to be left alone. What ends later than it was long was given on another clock."""
        left = self.until - now
        return max(0, left) if left <= self.wait else 0

    def end(self) -> None:
        """It is over, but for bad credentials."""
        self.until = self.wait = self.times = self.probing = 0
        self.over = self.prober = ""


class RelayBook:
    """What the fleet knows of relays in trouble."""

    def __init__(self, lease: int, retention: int) -> None:
        self._lease = lease
        self._retention = retention
        self._troubles: dict[str, _Trouble] = {}

    def trouble(
        self, relay: str, owner: str, delay: int, longest: int, latch: str, over: str, reason: str, now: int
    ) -> Setback:
        """``owner`` has met trouble."""
        known = self._of(relay, now) or _Trouble()
        if latch in known.latched:
            return Setback(rules.LATCHED_WAIT, news=False)
        if latch:
            self._troubles[relay] = known
            known.end()  # it was reached; only these settings are the trouble
            known.latched[latch] = now
            known.since, known.reason = now, reason
            return Setback(rules.LATCHED_WAIT, news=True)
        left = known.left(now)
        if left > 0:
            return Setback(left / 1000, news=False)
        if self._is_probed(known, owner, now):
            return Setback(min(_PROBE_WAIT, known.probing - now) / 1000, news=False)
        self._troubles[relay] = known
        wait = int(min(longest, delay * 2 ** min(known.times, 30)))
        news, again = known.times == 0, over != "" and over == known.over
        if news:
            known.since = now
        known.times += 1
        known.over, known.reason = over, reason
        known.prober, known.probing = "", 0
        if not again:
            known.until, known.wait = now + wait, wait
        return Setback(wait / 1000, news=news, down=not again)

    def probe(self, relay: str, owner: str, fingerprint: str, now: int) -> float:
        """How long ``owner`` has to wait, in s; 0.0 makes it the prober."""
        known = self._of(relay, now)
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

    def recovered(self, relay: str, now: int, *, by_hand: bool) -> bool:
        """It has answered; whether that ends any trouble."""
        known = self._of(relay, now)
        if known is None:
            return False
        if by_hand or not known.latched:
            del self._troubles[relay]
            return True
        was_down = known.times > 0
        known.end()
        return was_down

    def is_any_down(self, now: int) -> bool:
        """Whether any of them is in trouble, and not merely latched."""
        return any(known.times > 0 for relay in self._troubles if (known := self._of(relay, now)))

    def states(self, now: int) -> dict[str, RelayMark]:
        """All of them."""
        troubles = {relay: self._of(relay, now) for relay in self._troubles}
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
            for relay, known in troubles.items()
            if known
        }

    def _of(self, relay: str, now: int) -> _Trouble | None:
        """What is known of a relay in trouble. A latch lasts for the retention: by then its settings are history."""
        known = self._troubles.get(relay)
        if known is None:
            return None
        known.latched = {latch: since for latch, since in known.latched.items() if now - since < self._retention}
        return known if known.times or known.latched else None

    def _is_probed(self, known: _Trouble, owner: str, now: int) -> bool:
        """Whether another than ``owner`` is asking it just now."""
        return bool(known.prober) and known.prober != owner and now < known.probing <= now + self._lease
