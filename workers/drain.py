"""The way of a task through a child: claim its messages, add what else waits in the lane, deliver, record.

A lone message waits for nobody; batches grow with the backlog.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from mailqueue.errors import LedgerUnavailable
from workers import deliver
from workers.batch import Batch
from workers.lookout import Lookout
from workers.supply import Supply, tapped
from workers.unpacking import release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.codec import Parcel
    from workers.process import Process

__all__ = ["drain"]

logger = logging.getLogger(__name__)

LONGEST_RUN = 10.0  # s that one task goes on taking others


def drain(parcel: Parcel, process: Process) -> None:
    """Deliver the messages of ``parcel``, and of what else its lane has.

    Goes back to Celery when the lane is empty, when a higher lane has mail, at a shutdown, and from time to time, for
    whatever else Celery has to do with its child; after each batch where a task may wait there that is older.
    """
    parcels = deque([parcel])
    until = time.monotonic() + LONGEST_RUN
    lookout = Lookout(process, parcel.lane)
    while parcels:
        go_on = _one_batch(parcels, process, lookout, until)
        if not parcels and go_on and time.monotonic() < until:
            parcels.extend(_next(process, parcel.lane))


def _one_batch(parcels: deque[Parcel], process: Process, lookout: Lookout, until: float) -> bool:
    """Make a batch of the first of ``parcels`` and what the lane has, and deliver it. Suspects are left for the next ones.

    Returns whether there is no reason to stop after it.
    """
    first = parcels.popleft()
    batch = Batch(first.lane)
    with process.keeper.watch(batch):
        try:
            return _deliver(process, batch, lookout, Supply(process, batch, first, parcels, until))
        except LedgerUnavailable as error:
            # Only at a shutdown during an outage. The leases end by themselves, unclaimed tasks are found lost.
            logger.error("action=batch_left reason=%s", error)  # noqa: TRY400 - the store's trouble, not ours
            return False


def _deliver(process: Process, batch: Batch, lookout: Lookout, supply: Supply) -> bool:
    started = time.monotonic()
    delivery = deliver.Delivery(process, batch, lookout)
    try:
        supply.fill()
        while supply:
            delivery.run(supply.take(), supply.more)
            if supply and delivery.must_stop():
                release(process, batch, batch.waiting())
                break
        # Nothing, unless a bug has left it: it would wait for its lease, and count as a crash.
        release(process, batch, batch.waiting(), deliver.LATER, "not delivered")
    except LedgerUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary of a task: what a bug leaves claimed would wait for its lease
        logger.error("action=batch_failed lane=%s reason=%s", batch.lane, deliver.where(error))  # noqa: TRY400 - as `where` says
        release(process, batch, batch.waiting(), deliver.LATER, type(error).__name__)
        return False
    logger.info(
        "action=batch_done lane=%s messages=%d seconds=%.3f", batch.lane, supply.messages, time.monotonic() - started
    )
    return not delivery.must_stop()


def _next(process: Process, lane: str) -> Sequence[Parcel]:
    """The first task of the next batch, if the lane has one and Celery none that is older."""
    return tapped(process, lane, lambda tap: () if tap.hands_out_ahead else tap.take(lane, 1, 1.0))
