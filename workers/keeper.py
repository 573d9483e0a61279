"""The keeper: a thread of each delivering process that keeps its leases honest and its idle connections closed.

What has begun, or is having its turn, is renewed for as long as a reply may take; what was claimed and is still waiting
after two thirds of a lease is given back, so that a slow relay never makes the claims of a busy child expire.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mailqueue.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.ledger.base import Ledger
    from workers.batch import Batch
    from workers.connections import Connections
    from workers.relays import Relays

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

LONGEST_REPLY = 660.0  # s: RFC 5321 4.5.3.2.6 gives the reply to the final dot 10 minutes; one more for the rest


class Keeper:
    """Watches the batches of this process, from the first one on until the process ends."""

    def __init__(self, ledger: Ledger, connections: Connections, relays: Relays, lease: float) -> None:
        self._ledger = ledger
        self._connections = connections
        self._relays = relays
        self._lease = lease
        self._lock = threading.Lock()
        self._batches: set[Batch] = set()
        self._thread: threading.Thread | None = None
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
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mailqueue-keeper", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._batches.discard(batch)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._lease / 10):
            with self._lock:
                batches = list(self._batches)
            for batch in batches:
                try:
                    self._keep(batch)
                except LedgerUnavailable as error:
                    # The next round tries again; if none succeeds the leases end, which is what they are for.
                    logger.warning("action=lease_not_renewed reason=%s", error)
            self._relays.keep()
            self._connections.close_idle()

    def _keep(self, batch: Batch) -> None:
        busy = batch.busy(no_longer_than=LONGEST_REPLY)
        if busy:
            self._ledger.renew(busy, batch.token)
        late = batch.waiting(longer_than=self.patience, turn=LONGEST_REPLY)
        if late:
            # A message that begins at this very moment is either refused its begin, or kept from this release.
            self._ledger.release(late, batch.token, reason="waited too long for its turn")
            batch.given_back(late)
            logger.info("action=given_back lane=%s messages=%d", batch.lane, len(late))
