"""The tick: a thread of every worker's main process that recovers and publishes what the ledger says is due.

A thread and no timer of Celery's event loop, which stands still while a solo worker is busy. There is no leader: the
ledger answers one tick for the whole fleet. What waits in the spool of this host goes along.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from mailqueue.codec import Parcel
from mailqueue.errors import ImproperlyConfigured, LedgerFault, LedgerUnavailable, SpoolError
from mailqueue.ledger.rules import TICK_GAP_MORE
from workers.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.ledger.base import Ledger
    from mailqueue.publisher import Publisher
    from mailqueue.spool import Spool

__all__ = ["Tick"]

logger = logging.getLogger(__name__)

REPLAYED = 500  # messages of the spool that are replayed before the next tick


class Tick(Rounds):
    """Ticks every ``seconds`` until stopped. Nothing deferred would ever be sent without it.

    ``admit`` is for a store that nobody could judge yet: asked before the first tick until it has an answer, False ends
    the thread. It raises LedgerUnavailable while the store is away.
    """

    def __init__(
        self,
        ledger: Ledger,
        publisher: Publisher,
        worker: str,
        seconds: float,
        spool: Spool | None = None,
        *,
        admit: Callable[[], bool] | None = None,
    ) -> None:
        # One that published may have left more: the ledger bounds each, and answers the next after this gap.
        super().__init__("tick", idle=seconds, busy=min(seconds, TICK_GAP_MORE))
        self._ledger = ledger
        self._publisher = publisher
        self._worker = worker
        self._spool = spool
        self._admit = admit
        self._spool_failing = False

    def stop(self) -> None:
        """End the thread; a tick under way is finished."""
        super().stop()
        if self._spool is not None:
            self._spool.close()

    def once(self) -> int:
        """One tick, and what waits in the spool; returns the tasks that the tick published."""
        if self._admit is not None and not self._admit():
            self.end()
            return 0
        self._admit = None
        published = self._tick()
        self.replay()
        return published

    def replay(self) -> int:
        """Have the ledger accept what waits in this host's spool; returns how many messages it took."""
        if self._spool is None:
            return 0
        try:
            count = self._spool.replay(self._ledger, self._publisher, REPLAYED)
        except (SpoolError, ImproperlyConfigured) as error:  # its file, or a store that cannot do what is asked of it
            if not self._spool_failing:
                logger.warning("action=spool_failed reason=%s", error)
            self._spool_failing = True
            return 0
        self._spool_failing = False
        return count

    def _tick(self) -> int:
        """Free the claims of dead children, then publish what is due; returns the tasks published."""
        self._bury_all()
        ticked = self._ledger.tick()
        if any(ticked.found.values()):
            logger.info("action=tick %s", " ".join(f"{name}={count}" for name, count in sorted(ticked.found.items())))
        parcels = [Parcel(p.lane, p.number, p.items, p.alone) for p in ticked.publications]
        if not parcels:
            return 0
        failed = self._publisher.publish(parcels)
        if failed:
            ids = [message_id for parcel in failed for message_id, _envelope in parcel.items]
            logger.warning("action=publish_failed tasks=%d messages=%d", len(failed), len(ids))
            if ids:
                self._ledger.unpublished(ids)
        return len(parcels) - len(failed)

    def _bury_all(self) -> None:
        """Free at once what children of this worker held when they died, instead of waiting for their leases."""
        for owner in self._ledger.owners(f"{self._worker}:"):
            try:
                self._bury(owner)
            except LedgerUnavailable:
                raise
            except LedgerFault as error:
                logger.error("action=burial_failed owner=%s reason=%s", owner, error)  # noqa: TRY400 - the store's trouble, not ours
            except Exception:
                # Its leases end by themselves. What is due is published all the same: nobody else may do it.
                logger.exception("action=burial_failed owner=%s", owner)

    def _bury(self, owner: str) -> None:
        pid = int(owner.rpartition(":")[2])
        if not _alive(pid):
            freed = self._ledger.free(owner)
            logger.warning("action=child_died pid=%d claims_freed=%d", pid, freed)


def _alive(pid: int) -> bool:
    """Whether the process, ourselves or a child of ours, still runs; one that Celery has yet to reap does not.

    True where that cannot be told without reaping it, on macOS before Python 3.13: its leases end by themselves.
    """
    if pid == os.getpid() or not hasattr(os, "waitid"):
        return True
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
