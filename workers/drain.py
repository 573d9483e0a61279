"""The way of a task through a child: claim its messages, add what else waits in the lane, deliver, record.

A lone message waits for nobody; batches grow with the backlog.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from mailqueue import codec
from mailqueue.errors import LedgerUnavailable, UnsupportedVersion, WireError
from mailqueue.ledger.base import Submission
from workers import deliver
from workers.batch import Batch
from workers.lookout import Lookout
from workers.unpacking import Opened, hold, release, slices, unpack_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailqueue.codec import Parcel
    from mailqueue.ledger.base import Grant
    from workers.process import Process
    from workers.tap import Tap

__all__ = ["drain"]

logger = logging.getLogger(__name__)

LONGEST_RUN = 10.0  # s that one task goes on taking batches


def drain(parcel: Parcel, process: Process) -> None:
    """Deliver the messages of ``parcel``, and batch by batch of what else its lane has.

    Goes back to Celery when the lane is empty, when a higher lane has mail, at a shutdown, and from time to time, for
    whatever else Celery has to do with its child; after each batch where a task may wait there that is older.
    """
    parcels = deque([parcel])
    until = time.monotonic() + LONGEST_RUN
    lookout = Lookout(process, parcel.lane)
    while parcels:
        go_on = _one_batch(parcels, process, lookout)
        if not parcels and go_on and time.monotonic() < until:
            parcels.extend(_next(process, parcel.lane))


def _one_batch(parcels: deque[Parcel], process: Process, lookout: Lookout) -> bool:
    """Make a batch of ``parcels`` and what the lane has, and deliver it. A suspect is left for the next, alone.

    Returns whether there is no reason to stop after it.
    """
    first = parcels.popleft()
    batch = Batch(first.lane)
    with process.keeper.watch(batch):
        try:
            return _deliver(process, batch, lookout, first, parcels)
        except LedgerUnavailable as error:
            # Only at a shutdown during an outage. The leases end by themselves, unclaimed tasks are found lost.
            logger.error("action=batch_left reason=%s", error)  # noqa: TRY400 - the store's trouble, not ours
            return False


def _deliver(process: Process, batch: Batch, lookout: Lookout, first: Parcel, left: deque[Parcel]) -> bool:
    started = time.monotonic()
    try:
        opened = _claim(process, batch, [first])
        if not first.alone and not process.stopping:
            further = _take(process, first, left)
            if further:
                opened += _claim(process, batch, further)
        delivery = deliver.Delivery(process, batch, lookout)
        for number, part in enumerate(slices(opened, process.batch_bytes)):
            if number and delivery.must_stop():
                release(process, batch, batch.waiting())
                break
            delivery.run(unpack_all(process, batch, part))
    except LedgerUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary of a task: what a bug leaves claimed would wait for its lease
        logger.error("action=batch_failed lane=%s reason=%s", batch.lane, deliver.where(error))  # noqa: TRY400 - as `where` says
        release(process, batch, batch.waiting(), deliver.LATER, type(error).__name__)
        return False
    logger.info(
        "action=batch_done lane=%s messages=%d seconds=%.3f", batch.lane, len(opened), time.monotonic() - started
    )
    return not delivery.must_stop()


def _next(process: Process, lane: str) -> Sequence[Parcel]:
    """The first task of the next batch, if the lane has one and Celery none that is older."""
    return _tap(process, lane, lambda tap: () if tap.hands_out_ahead else tap.take(lane, 1, 1.0))


def _take(process: Process, first: Parcel, left: deque[Parcel]) -> list[Parcel]:
    """Further parcels of the lane for this batch; a suspect among them goes to ``left``."""
    room = process.batch_messages - len(first.items)
    space = process.batch_bytes - _octets(first)
    if room <= 0 or space <= 0:
        return []
    # As many as would fit if the others were like this one: a guess that `take` corrects by putting tasks back.
    room = max(1, min(room, int(space / max(1.0, _octets(first) / max(1, len(first.items))))))
    taken = _tap(process, first.lane, lambda tap: tap.take(first.lane, room, float(len(first.items))))
    left.extend(parcel for parcel in taken if parcel.alone)
    return [parcel for parcel in taken if not parcel.alone]


def _tap(process: Process, lane: str, look: Callable[[Tap], Sequence[Parcel]]) -> Sequence[Parcel]:
    try:
        return look(process.tap())
    except Exception as error:  # noqa: BLE001 - any broker's errors; the batch goes on with what it has
        logger.warning("action=drain_failed lane=%s reason=%s", lane, type(error).__name__)
        process.drop_tap()
        return ()


def _octets(parcel: Parcel) -> int:
    return sum(len(envelope) for _id, envelope in parcel.items)


def _claim(process: Process, batch: Batch, parcels: Sequence[Parcel]) -> list[Opened]:
    """Claim the messages of ``parcels``; those granted and readable come back, without their large parts."""
    envelopes = dict(item for parcel in parcels for item in parcel.items)
    number = max(parcel.number for parcel in parcels)
    alone = any(parcel.alone for parcel in parcels)

    def claim(ids: Sequence[str]) -> tuple[Sequence[Grant], Sequence[str]]:
        claim = process.ledger.claim(
            batch.lane, ids, token=batch.token, owner=process.owner, number=number, alone=alone
        )
        batch.claimed(grant.id for grant in claim.granted)
        return claim.granted, claim.missing

    granted, missing = process.surely(claim, list(envelopes))
    if missing:
        restored = _restore(process, batch.lane, {message_id: envelopes[message_id] for message_id in missing})
        if restored:
            again, _ = process.surely(claim, restored)
            granted = [*granted, *again]
    return _open(process, batch, granted, envelopes)


def _restore(process: Process, lane: str, lost: dict[str, bytes]) -> list[str]:
    """Accept again what the store has forgotten (it rolled back), unless it may have finished and been forgotten since."""
    submissions = []
    for message_id, encoded in lost.items():
        try:
            envelope = codec.decode(encoded)
        except WireError as error:
            logger.error("action=dropped message_id=%s reason=no record and unreadable: %s", message_id, error)  # noqa: TRY400 - no traceback wanted
            continue
        if process.now() - envelope.created >= process.retention:
            logger.error("action=dropped message_id=%s reason=no record and older than the retention", message_id)
            continue
        submissions.append(
            Submission(
                message_id,
                encoded,
                relay=envelope.relay,
                blobs=envelope.blobs(),
                on_unknown=envelope.on_unknown,
                expires_at=envelope.expires_at,
            )
        )
    restored = []
    for submission in submissions:
        acceptance = process.surely(process.ledger.accept, lane, [submission], restored=True)
        if acceptance.lacking:
            logger.error("action=dropped message_id=%s reason=no record and its large parts are gone", submission.id)
        else:
            logger.warning("action=restored message_id=%s", submission.id)
            restored.append(submission.id)
    return restored


def _open(process: Process, batch: Batch, granted: Sequence[Grant], envelopes: dict[str, bytes]) -> list[Opened]:
    """Read the envelopes of grants; what cannot be read is held, with the reason."""
    opened: list[Opened] = []
    for grant in granted:
        try:
            envelope = codec.decode(envelopes[grant.id])
        except UnsupportedVersion as error:
            hold(process, batch, grant, f"envelope of version {error.version}, which this worker does not know")
        except WireError as error:
            hold(process, batch, grant, f"envelope unreadable: {error}")
        else:
            opened.append(Opened(grant, envelope, envelope.sizes()))
    return opened
