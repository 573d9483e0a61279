"""The keeper: the threads of each delivering process that keep its leases honest and its idle connections closed.

What has begun, or is having its turn, is renewed for as long as a reply may take; what was claimed and is still waiting
after two thirds of a lease is given back, so that a slow relay never makes the claims of a busy child expire.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mailqueue.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailqueue.ledger.base import Ledger
    from workers.batch import Batch
    from workers.connections import Connections
    from workers.relays import Relays

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

# s from the begin of a message until its answer at the latest. RFC 5321 4.5.3.2 gives the reply to DATA 2 minutes and
# that to the final dot 10; 1 for the rest, and 30 for the content: 25 MB over 128 kbit/s. A lease that ends earlier
# makes another copy of a message that is still going out; one that ends later matters only for a thread that hangs.
LONGEST_REPLY = 120.0 + 600.0 + 60.0 + 1800.0
LONGEST_TURN = 660.0  # s for what comes before: whoever takes longer is refused the begin, and nothing is lost by it
STOP_WAIT = 5.0  # s


class Keeper:
    """Watches the batches of this process, from the first one on until the process ends."""

    def __init__(self, ledger: Ledger, connections: Connections, relays: Relays, lease: float) -> None:
        self._ledger = ledger
        self._connections = connections
        self._relays = relays
        self._lease = lease
        self._lock = threading.Lock()
        self._batches: set[Batch] = set()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()

    @property
    def patience(self) -> float:
        """Seconds that a claimed message may wait for its turn."""
        return self._lease * 2 / 3

    @contextmanager
    def watch(self, batch: Batch) -> Iterator[None]:
        """Keep the leases of ``batch`` inside the block."""
        with self._lock:
            self._batches.add(batch)
            if not self._threads:
                # One of its own for closing: a relay may be slow to answer QUIT, and a lease must not wait for it.
                self._start("mailqueue-keeper", self._keep_all)
                self._start("mailqueue-idle-closer", self._connections.close_idle)
        try:
            yield
        finally:
            with self._lock:
                self._batches.discard(batch)

    def stop(self) -> None:
        """End the threads; one that waits for a relay is left behind."""
        self._stop.set()
        until = time.monotonic() + STOP_WAIT
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(self._lease / 10):
            try:
                work()
            except Exception:  # the thread must outlive its bugs: every lease of the process hangs on it
                logger.exception("action=keeping_failed")

    def _keep_all(self) -> None:
        with self._lock:
            batches = list(self._batches)
        for batch in batches:
            try:
                self._keep(batch)
            except LedgerUnavailable as error:
                # The next round tries again; if none succeeds the leases end, which is what they are for.
                logger.warning("action=lease_not_renewed reason=%s", error)
            except Exception:  # what is wrong with one batch must not end the leases of the others
                logger.exception("action=keeping_failed lane=%s", batch.lane)
        self._relays.keep()

    def _keep(self, batch: Batch) -> None:
        busy = batch.busy(no_longer_than=LONGEST_REPLY, turn=LONGEST_TURN)
        if busy:
            self._ledger.renew(busy, batch.token)
        late = batch.waiting(longer_than=self.patience, turn=LONGEST_TURN)
        if late:
            # A message that begins at this very moment is either refused its begin, or kept from this release.
            self._ledger.release(late, batch.token, reason="waited too long for its turn")
            batch.given_back(late)
            logger.info("action=given_back lane=%s messages=%d", batch.lane, len(late))
