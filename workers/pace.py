"""The pace of this process's mail: which relays have limits, what was sent to which domain, and who asks for less.

The accounts are in the ledger, one for the whole fleet. A relay that has no limits costs a batch nothing: whether it has
got some by hand, or a domain behind it was slowed, is looked up every few seconds. Leaves sending to ``portions``.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.errors import LedgerFault, LedgerUnavailable
from mailqueue.ledger.rates import QUIET
from mailqueue.limits import LimitsOfRelays
from mailqueue.outcome import Verdict
from mailqueue.smtp.classify import Stage, asks_for_less
from mailqueue.smtp.reply import Reply
from workers.batch import domain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mailqueue.errors import RelayTrouble
    from mailqueue.ledger.rates import Permits, Rates
    from mailqueue.outcome import Result
    from mailqueue.rate import Limits

__all__ = ["LONGEST", "LOOK_EVERY", "Pace"]

logger = logging.getLogger(__name__)

LOOK_EVERY = 2.0  # s between looks at the limits of a relay that has none in the settings
TOLD = 100  # domains, those most was sent to, that a look tells the fleet of
#: Part of a domain's answers within QUIET s that ask for less, from which on it is slowed: a big one always has some
#: recipients who get too much mail themselves.
NOTICED = 0.05
LONGEST = 900.0  # s that a message is put off: a limit that is raised by hand shows by then for all that waits
EARLY = 0.8  # part of its time after which what is put off comes back, so that there is always some mail to be sent

_LINES: Final = 1000  # that are remembered of a relay before those that are empty by now are forgotten

# Where a relay that hangs up (421) does so over a recipient or a message; elsewhere it has enough of the connection.
_OVER_A_MESSAGE: Final = frozenset({Stage.RCPT, Stage.CONTENT, Stage.FINAL})


@dataclass(slots=True)
class _Relay:
    """What this process knows of one relay."""

    looked_at: float | None = None
    limited: Mapping[str, float] = field(default_factory=dict)  # domains, "" and "*" -> messages a second
    sent: Counter[str] = field(default_factory=Counter)  # by domain, since the last look
    counted_from: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)  # by domain, since then
    complaints: Counter[str] = field(default_factory=Counter)
    slowed_at: dict[str, float] = field(default_factory=dict)  # domains that we have had slowed, and when
    lines: dict[str, tuple[float, float]] = field(default_factory=dict)  # until when they are full, at which rate


class Pace:
    """Asks the fleet's accounts on behalf of one process. Safe across threads.

    ``take``, ``give_back`` and ``leave`` may raise LedgerUnavailable, and can then be repeated.

    Args:
        rates: The accounts.
        now: s since the epoch, for what the limits are today.
        clock: Monotonic, in s.
    """

    def __init__(
        self, rates: Rates, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates = rates
        self._now = now
        self._clock = clock
        self._limits = LimitsOfRelays()
        self._lock = threading.Lock()
        self._relays: dict[str, _Relay] = {}

    def limits(self, relay: str) -> Limits:
        """The relay's limits by the settings, today."""
        return self._limits.of(relay, self._now())

    def is_limited(self, relay: str) -> bool:
        """Whether mail through ``relay`` needs permits, some of it at least."""
        known = self._look(relay)
        return bool(self.limits(relay)) or bool(known.limited)

    def take(self, relay: str, wanted: Mapping[str, int], *, owner: str, urgent: bool) -> Permits:
        """Permits for messages to be sent now."""
        self._look(relay)
        return self._rates.take(relay, wanted, limits=self.limits(relay), owner=owner, urgent=urgent)

    def give_back(self, relay: str, unused: Mapping[str, int]) -> None:
        """Permits that were not used."""
        self._rates.give_back(relay, unused)

    def leave(self, relay: str, owner: str) -> None:
        """``owner`` occupies no connection any more."""
        self._rates.leave(relay, owner)

    def queue_up(self, relay: str, holder: str, number: int, *, rate: float, wait: float) -> list[float]:
        """In how many s each of ``number`` messages that are put off is to come back, one after the other.

        They queue up behind those that this process has put off before, for the domain ``holder`` or for the relay ("").
        What would come later than LONGEST comes at random before that: by then the limits may be others.
        """
        now, gap = self._clock(), EARLY / rate
        with self._lock:
            lines = self._of(relay).lines
            if len(lines) > _LINES:  # with a limit for "*" there may be one for each domain that there is
                for each in [each for each, (until, _) in lines.items() if until <= now]:
                    del lines[each]
            full, at_rate = lines.get(holder, (now, rate))
            begin = max(now + EARLY * wait, full if at_rate == rate else now)
            lines[holder] = min(begin + number * gap, now + LONGEST), rate
        times = (begin + place * gap - now for place in range(number))
        return [time if time < LONGEST else LONGEST * random.uniform(0.5, 1) for time in times]  # noqa: S311 - to spread them

    # -- what relays say

    def answered(self, relay: str, domain: str, results: Mapping[str, Result]) -> None:
        """``relay`` has answered for a message that counts for ``domain``; "" if it goes on with the same message."""
        with self._lock:
            known = self._of(relay)
            if domain:
                known.sent[domain] += 1
                self._count(known.answers, domain, known)
        for recipient, result in results.items():
            if result.verdict is Verdict.DEFERRED and asks_for_less(result.reply):
                self._complaint(relay, domain_of(recipient), result.reply)

    def hung_up(self, relay: str, domain: str, trouble: RelayTrouble) -> None:
        """A connection was lost over a message to ``domain``, with words."""
        reply = Reply(trouble.code or 0, trouble.text)
        if trouble.stage in _OVER_A_MESSAGE and asks_for_less(reply):
            self._complaint(relay, domain, reply)

    def _count(self, tally: Counter[str], domain: str, known: _Relay) -> None:
        now = self._clock()
        if now - known.counted_from >= QUIET:
            known.answers.clear()
            known.complaints.clear()
            known.counted_from = now
        tally[domain] += 1

    def _complaint(self, relay: str, domain: str, reply: Reply) -> None:
        """``domain`` asks for less: have it slowed, which the fleet does once in a while, if enough of its answers do.

        A store that is away hears of the next one.
        """
        now = self._clock()
        with self._lock:
            known = self._of(relay)
            self._count(known.complaints, domain, known)
            few = known.complaints[domain] < NOTICED * known.answers[domain]
            if few or now - known.slowed_at.get(domain, now - QUIET) < QUIET or not self._limits.slows(relay):
                return
            known.slowed_at[domain] = now
            known.looked_at = None  # what was sent is told first, and what holds from now on is looked up next
        reason = " ".join(filter(None, (str(reply.code), reply.enhanced)))
        try:
            self._look(relay)
            rate = self._rates.slow_down(relay, domain, limits=self.limits(relay), reason=reason)
        except (LedgerUnavailable, LedgerFault):
            return
        with self._lock:
            known.looked_at = None
        logger.warning(
            "action=domain_slowed relay=%s domain=%s rate=%.3g/s reason=%s", relay or "default", domain, rate, reason
        )

    # -- the fleet

    def _of(self, relay: str) -> _Relay:
        known = self._relays.get(relay)
        return self._relays.setdefault(relay, _Relay()) if known is None else known

    def _look(self, relay: str) -> _Relay:
        """What holds for ``relay``, at most a few seconds old; tells the fleet what was sent meanwhile."""
        now = self._clock()
        with self._lock:
            known = self._of(relay)
            if known.looked_at is not None and now - known.looked_at < LOOK_EVERY:
                return known
            known.looked_at = now  # one of our threads looks
            sent, known.sent = known.sent, Counter()
        try:
            limited = self._rates.limited(relay, self.limits(relay), sent=dict(sent.most_common(TOLD)))
        except (LedgerUnavailable, LedgerFault):
            return known  # what was known holds; permits, where they are needed, are asked for again
        with self._lock:
            known.limited = limited
        return known
