"""Portions: an errand to a relay with limits, delivered as its permits come in; what would wait for long is put off.

Leaves the accounts to ``pace``, and the sending of each portion to who delivers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from mailqueue.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailqueue.ledger.rates import Permits
    from workers.batch import Attempt, Batch
    from workers.errand import Errand
    from workers.process import Process

__all__ = ["PATIENCE", "PATIENCE_OF_DOMAIN", "Portions"]

logger = logging.getLogger(__name__)

#: s that a message waits here for the relay, while others of the lane could not be sent either.
PATIENCE: Final = 10.0
#: s that it waits here for its domain, while mail for others waits in the lane.
PATIENCE_OF_DOMAIN: Final = 1.0
#: s between two questions for permits: what has become free meanwhile goes out as one portion.
_STEPS: Final = (0.02, 0.05)
#: Times at which the messages of one batch come back; each is a call.
_GROUPS: Final = 16


class Portions:
    """One errand. For one thread.

    Args:
        send: Delivers what is in the errand, over one connection if it is told so; may leave some of it there.
    """

    def __init__(self, process: Process, batch: Batch, errand: Errand, send: Callable[[bool], None]) -> None:
        self._process = process
        self._batch = batch
        self._errand = errand
        self._send = send
        self._owner = f"{process.owner}:{threading.get_ident()}"
        self._urgent = batch.lane == "urgent"
        self._waiting: deque[tuple[str, Attempt]] = deque()  # with their domains, in order
        self._waited = 0.0
        self._holds = False  # a connection that is counted

    def work(self) -> None:
        """Send all of it, but what is put off. What has not been sent when there is a reason to stop is in the errand."""
        self._waiting.extend((attempt.domain, attempt) for attempt in self._errand.take_all())
        try:
            while self._waiting and not self._errand.must_stop():
                self._work_once()
        finally:
            self._errand.put_back(attempt for _, attempt in self._waiting)
            if self._holds:
                with contextlib.suppress(LedgerUnavailable):  # it is forgotten by itself
                    self._process.pace.leave(self._errand.relay, self._owner)

    def _work_once(self) -> None:
        wanted = Counter(domain for domain, _ in self._waiting)
        pace, relay = self._process.pace, self._errand.relay
        permits = self._process.surely(pace.take, relay, wanted, owner=self._owner, urgent=self._urgent)
        wide, narrow = self._divide(permits)
        self._put_off(permits)
        for portion, alone in ((wide, False), (narrow, True)):
            self._holds = self._holds or (alone and bool(portion))
            self._deliver(portion, alone=alone)
        if self._waiting and not wide and not narrow:
            self._wait(min(permits.waits.values(), default=0.0))

    def _divide(self, permits: Permits) -> tuple[list[tuple[str, Attempt]], list[tuple[str, Attempt]]]:
        """Take from what waits the messages that may go, and of these apart those that share one connection."""
        left = Counter(permits.granted)
        wide: list[tuple[str, Attempt]] = []
        narrow: list[tuple[str, Attempt]] = []
        still: deque[tuple[str, Attempt]] = deque()
        for domain, attempt in self._waiting:
            if left[domain] <= 0:
                still.append((domain, attempt))
                continue
            left[domain] -= 1
            (narrow if permits.narrow & {"", domain} else wide).append((domain, attempt))
        self._waiting = still
        return wide, narrow

    def _deliver(self, portion: Sequence[tuple[str, Attempt]], *, alone: bool) -> None:
        """Send messages that have their permits, and give back the permits of those that were not sent."""
        if not portion:
            return
        domains = {id(attempt): domain for domain, attempt in portion}
        self._errand.put_back(attempt for _, attempt in portion)
        try:
            if not self._errand.must_stop():
                self._send(alone)
        finally:
            unsent = [(domains[id(attempt)], attempt) for attempt in self._errand.take_all()]
            self._waiting.extendleft(reversed(unsent))
            if unsent:
                with contextlib.suppress(LedgerUnavailable):  # they are lost: so much less is sent
                    self._process.pace.give_back(self._errand.relay, Counter(domain for domain, _ in unsent))

    # -- those that have to wait

    def _wait(self, seconds: float) -> None:
        """Until it is worth asking again, in steps that urgent mail and a shutdown can end."""
        shortest, longest = _STEPS
        step = min(max(seconds, shortest), longest)
        self._process.sleep(step)
        self._waited += step
        # Who waits for longer than the keeper's patience is given back by it.
        self._waiting = deque(each for each in self._waiting if self._batch.holds(each[1].id))

    def _put_off(self, permits: Permits) -> None:
        """Give back, until about their time, the messages that would have to wait here for too long."""
        still: deque[tuple[str, Attempt]] = deque()
        away: dict[str, list[Attempt]] = {}  # by who lets them wait: their domain, or the relay ("")
        for each, holder in zip(self._waiting, self._holders(permits), strict=True):
            if holder is None:
                still.append(each)
            else:
                away.setdefault(holder, []).append(each[1])
        self._waiting = still
        for holder, attempts in away.items():
            self._release(holder, attempts, permits)
        if away:  # one line, however many domains have to wait
            messages = sum(map(len, away.values()))
            logger.info(
                "action=put_off relay=%s messages=%d domains=%d", self._errand.relay or "default", messages, len(away)
            )

    def _release(self, holder: str, attempts: Sequence[Attempt], permits: Permits) -> None:
        relay = self._errand.relay
        wait = permits.waits.get(holder or attempts[0].domain, 0.0)
        rate = permits.rates.get(holder, 1.0)  # one of which the connections alone are limited
        times = self._process.pace.queue_up(relay, holder, len(attempts), rate=rate, wait=wait)
        size = -(-len(attempts) // _GROUPS)
        for first in range(0, len(attempts), size):
            ids = [attempt.id for attempt in attempts[first : first + size] if self._batch.holds(attempt.id)]
            self._process.surely(
                self._process.ledger.release, ids, self._batch.token, due_in=times[first], reason="waits for a limit"
            )
            self._batch.given_back(ids)
        logger.debug(
            "action=put_off relay=%s domain=%s messages=%d first_in=%.1fs rate=%.3g/s",
            *(relay or "default", holder or "all", len(attempts), times[0], rate),
        )

    def _holders(self, permits: Permits) -> list[str | None]:
        """For each message that waits: None if it may wait here, else who lets it wait too long, its domain or the relay.

        Goes by its place among those of its domain, and among all that wait for the relay.
        """
        of_domain: Counter[str] = Counter()
        of_relay, found = 0, list[str | None]()
        relay_rate = permits.rates.get("")
        for domain, _ in self._waiting:
            wait, rate = permits.waits.get(domain, 0.0), permits.rates.get(domain)
            mine = rate is not None and rate != relay_rate  # its domain's own limit is what it goes by
            if mine and rate and wait + of_domain[domain] / rate > PATIENCE_OF_DOMAIN - self._waited:
                holder: str | None = domain
            elif wait + (of_relay / relay_rate if relay_rate else 0.0) > PATIENCE - self._waited:
                holder = "" if relay_rate and not mine else domain
            else:
                holder = None
                of_relay += 1
            of_domain[domain] += 1
            found.append(holder)
        return found
