"""The one way in: a shipment is accepted by the ledger, or by this host's spool, and then published.

Keeps the deadline: whatever the ledger's store does, the caller has an answer by then. Beside each shipment that the
ledger takes, a little of what waits in the spool goes along.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from mailqueue.codec import Parcel, decode
from mailqueue.errors import BrokerUnavailable, LedgerFault, LedgerUnavailable, MessageNotFound, SpoolError, WireError
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailqueue.ledger.base import Acceptance, Ledger
    from mailqueue.publisher import Publisher
    from mailqueue.shipment import Packed, Shipment
    from mailqueue.spool import Spool

__all__ = ["CALL", "Intake"]

logger = logging.getLogger(__name__)

#: Part of the deadline that one call of the ledger may take: with the connect before it, it stays within the whole.
CALL: Final = 0.5
#: With a spool: after a failure of the ledger that took this part of the deadline, for how many s mail goes into the
#: spool at once, so that not every caller waits for a frozen store.
_SLOW: Final = 0.1
_PAUSE: Final = 2.0
#: What is replayed beside one shipment: messages, octets; and how often the spool is looked at, in s: when it was
#: empty, and when replaying failed. Else so seldom that it takes a tenth of the time.
_REPLAY_MESSAGES: Final = 20
_REPLAY_OCTETS: Final = 64 * 1024
_LOOK: Final = 1.0
_LOOK_AFTER_TROUBLE: Final = 5.0
_SHARE: Final = 0.1


class Intake:
    """Takes shipments for a ledger and a publisher. Safe across threads.

    Args:
        ledger: Whose calls take ``CALL`` of the deadline at most.
        publisher: Of the tasks.
        deadline: How long accepting may take, in s.
        spool: For what the ledger cannot take; None for no spool.
        durable: Wait for the fsync of the ledger's store.
        together: The ledger is in the store of the broker, so that it can publish what it accepts.
    """

    def __init__(
        self,
        ledger: Ledger,
        publisher: Publisher,
        *,
        deadline: float = 2.0,
        spool: Spool | None = None,
        durable: bool = False,
        together: bool = False,
    ) -> None:
        self.ledger = ledger
        self.spool = spool
        self._publisher = publisher
        self._deadline = deadline
        self._durable = durable
        self._together = together and not durable  # a task that is out is not called back, should the disk fail
        self._proven = not durable  # that the store can do what ``durable`` asks for
        self._away_until = 0.0
        self._spooling = False  # since the last time that the ledger took something
        self._look_at = 0.0
        self._replaying = threading.Lock()

    def close(self) -> None:
        """Close connections and files; they are opened again when they are needed."""
        self.ledger.close()
        self._publisher.close()
        if self.spool is not None:
            self.spool.close()

    def take(self, lane: str, shipment: Shipment) -> None:
        """Accept and publish ``shipment``; its receipts then say what became of it.

        Raises:
            BrokerUnavailable: Neither the ledger nor the spool has taken it; the ledger may have, its answer lost.
            IdempotencyConflict: for the key of one of its messages. None of them is accepted.
            ImproperlyConfigured: The store cannot do what ``durable`` asks for. Nothing is accepted.
        """
        began = time.monotonic()
        end = began + self._deadline
        if self.spool is not None and began < self._away_until:
            self._spool(lane, shipment, LedgerUnavailable("the ledger's store did not answer a moment ago"))
            return
        if self._away_until:
            self._away_until = began + _PAUSE  # one caller asks whether it is back, the others need not wait
        try:
            acceptance = self._accept(lane, shipment, end)
        except LedgerUnavailable as trouble:
            slow = time.monotonic() - began > self._deadline * _SLOW
            self._away_until = time.monotonic() + _PAUSE if slow else 0.0
            self._spool(lane, shipment, trouble)
            return
        self._away_until = 0.0
        if self._spooling:
            self._spooling = False
            logger.warning("action=spooling_ended")
        self._note(shipment, acceptance, end)
        if not acceptance.published:
            self._publish(lane, shipment, acceptance.number, end)
        if self.spool is not None:
            self._replay(end)

    # -- the ledger

    def _accept(self, lane: str, shipment: Shipment, end: float) -> Acceptance:
        if not self._proven:
            self.ledger.durable(self._left(end))
            self._proven = True
            self._check_time(end)
        submissions = [packed.submission for packed in shipment.load]
        draft = self._publisher.draft(lane, _items(shipment.load)) if self._together else None
        acceptance = self.ledger.accept(lane, submissions, draft=draft)
        if acceptance.lacking:
            self._check_time(end)
            self.ledger.put_blobs({key: shipment.blobs[key] for key in acceptance.lacking})
            self._check_time(end)
            acceptance = self.ledger.accept(lane, submissions, draft=draft)
            if acceptance.lacking:
                raise LedgerUnavailable("the ledger's store does not keep large parts: is it evicting keys?")
        if self._durable:
            self.ledger.durable(self._left(end))
        return acceptance

    def _note(self, shipment: Shipment, acceptance: Acceptance, end: float) -> None:
        for packed, answer in zip(shipment.load, acceptance.accepted, strict=True):
            receipt = packed.receipt
            receipt.state, receipt.accepted_at = answer.state, answer.accepted_at
            if answer.id != receipt.id:  # its key was used before: this is the first one's receipt
                receipt.id, receipt.message_id = answer.id, self._message_id(answer.id, end)

    def _message_id(self, first: str, end: float) -> str:
        """The Message-ID of an earlier message; empty if it is not known any more."""
        try:
            self._check_time(end)
            envelope = self.ledger.get(first).envelope
            return decode(envelope).message_id if envelope else ""
        except (LedgerUnavailable, LedgerFault, MessageNotFound, WireError):
            return ""

    def _publish(self, lane: str, shipment: Shipment, number: int, end: float) -> None:
        # Not by ``new``: a repeated call whose first answer was lost finds its own messages there.
        load = [
            packed
            for packed in shipment.load
            if packed.receipt.state is State.QUEUED and packed.receipt.id == packed.submission.id
        ]
        if not load:
            return
        items = _items(load)
        if not self._publisher.publish([Parcel(lane, number, items)], within=max(self._left(end), self._deadline / 10)):
            return
        # Accepted all the same. Without this the workers find out, only later, that the tasks are lost.
        try:
            self._check_time(end)
            self.ledger.unpublished([id_ for id_, _envelope in items])
        except (LedgerUnavailable, LedgerFault) as trouble:
            logger.warning("action=unpublished_failed messages=%d error=%s", len(items), trouble)
        else:
            for packed in load:
                packed.receipt.state = State.DEFERRED

    def _left(self, end: float) -> float:
        return max(0.0, end - time.monotonic())

    def _check_time(self, end: float) -> None:
        """Raise LedgerUnavailable if another call of the ledger could outlast the deadline."""
        if self._left(end) < self._deadline * CALL * 0.9:
            raise LedgerUnavailable("the ledger's store is too slow")

    # -- the spool

    def _spool(self, lane: str, shipment: Shipment, trouble: LedgerUnavailable) -> None:
        """Spool what the ledger did not take for ``trouble``; raises BrokerUnavailable if that cannot be."""
        submissions = [packed.submission for packed in shipment.load]
        why = f"not accepted within MAILQUEUE_DEADLINE ({self._deadline:g} s): {trouble}"
        ids = [submission.id for submission in submissions]
        if self.spool is None:
            raise BrokerUnavailable(why, message_ids=ids) from trouble
        try:
            under = self.spool.put(lane, submissions, shipment.blobs)
        except SpoolError as worse:
            raise BrokerUnavailable(f"{why}; nor was it spooled: {worse}", message_ids=ids) from worse
        # Once loudly: an outage is one event, however many messages it meets.
        logger.log(
            logging.INFO if self._spooling else logging.WARNING,
            "action=spooled messages=%d reason=%s",
            len(ids),
            trouble,
        )
        self._spooling = True
        for packed in shipment.load:
            packed.receipt.spooled = True
            first = under[packed.submission.id]
            if first != packed.receipt.id:
                packed.receipt.id, packed.receipt.message_id = first, self._spooled_message_id(self.spool, first)

    @staticmethod
    def _spooled_message_id(spool: Spool, first: str) -> str:
        try:
            envelope = spool.envelope(first)
            return decode(envelope).message_id if envelope else ""
        except (SpoolError, WireError):
            return ""

    def _replay(self, end: float) -> None:
        """The ledger is well: send a little of what waits in the spool along, if that is in time."""
        began = time.monotonic()
        within = end - began - self._deadline * CALL
        if self.spool is None or began < self._look_at or within <= 0 or not self._replaying.acquire(blocking=False):
            return
        pause = _LOOK
        try:
            if self.spool.waiting():
                self.spool.replay(self.ledger, self._publisher, _REPLAY_MESSAGES, octets=_REPLAY_OCTETS, within=within)
                pause = (time.monotonic() - began) / _SHARE
        except (LedgerUnavailable, LedgerFault, SpoolError) as trouble:
            logger.warning("action=replay_failed error=%s", trouble)
            pause = _LOOK_AFTER_TROUBLE
        finally:
            self._look_at = time.monotonic() + pause
            self._replaying.release()


def _items(load: Iterable[Packed]) -> tuple[tuple[str, bytes], ...]:
    """What a parcel has of the messages of ``load``."""
    return tuple((packed.submission.id, packed.submission.envelope) for packed in load)
