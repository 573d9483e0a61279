"""From tasks to messages that are ours: claimed from the ledger, and their envelopes read.

A message that the store has forgotten is accepted again; one that nobody here can read is held.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mailqueue import codec
from mailqueue.errors import UnsupportedVersion, WireError
from mailqueue.ledger.base import Submission
from workers.unpacking import Opened, hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.codec import Parcel
    from mailqueue.ledger.base import Grant
    from workers.batch import Batch
    from workers.process import Process

__all__ = ["claim"]

logger = logging.getLogger(__name__)


def claim(process: Process, batch: Batch, parcels: Sequence[Parcel]) -> list[Opened]:
    """Claim the messages of ``parcels``; those granted and readable come back, without their large parts.

    Of a task that comes twice, the second copy is left out while the batch still has the message: the ledger would take
    it for the same call once more, and grant it.
    """
    envelopes = {
        message_id: envelope
        for parcel in parcels
        for message_id, envelope in parcel.items
        if not batch.holds(message_id)
    }
    number = max(parcel.number for parcel in parcels)
    alone = any(parcel.alone for parcel in parcels)

    def ask(ids: Sequence[str]) -> tuple[Sequence[Grant], Sequence[str]]:
        answer = process.ledger.claim(
            batch.lane, ids, token=batch.token, owner=process.owner, number=number, alone=alone
        )
        batch.claimed(grant.id for grant in answer.granted)
        return answer.granted, answer.missing

    granted, missing = process.surely(ask, list(envelopes))
    if missing:
        restored = _restore(process, batch.lane, {message_id: envelopes[message_id] for message_id in missing})
        if restored:
            again, _ = process.surely(ask, restored)
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
