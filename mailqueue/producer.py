"""The way in: a message is validated, serialised, accepted by the ledger, and published as a task, in this order.

The ledger's accept decides. What comes before it refuses a message in the caller, and nothing is stored; what comes
after it cannot: a task that is not published now is published by the workers' tick.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mailqueue import conf
from mailqueue.codec import Parcel, encode
from mailqueue.envelope import Limits, pack
from mailqueue.errors import BrokerUnavailable, InvalidMessage, LedgerUnavailable
from mailqueue.ids import new_id
from mailqueue.ledger.base import Acceptance, Submission
from mailqueue.ledger.open import open_ledger
from mailqueue.ledger.states import State
from mailqueue.publisher import Publisher
from mailqueue.report import MessageStatus, RecipientStatus
from mailqueue.route import Route, route_using
from mailqueue.shipment import Packed, Shipment
from mailqueue.transaction import on_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mailqueue.ledger.base import Ledger

__all__ = [
    "MessageStatus",
    "Producer",
    "Receipt",
    "RecipientStatus",
    "close",
    "counts",
    "enqueue",
    "enqueue_many",
    "get_producer",
    "status",
]

logger = logging.getLogger(__name__)

#: Part of the deadline that one call of the ledger may take: with the connect before it, it stays within the whole.
_CALL: Final = 0.5


@dataclass(slots=True)
class Receipt:
    """What the caller gets for a message. ``message_id`` is its Message-ID header.

    ``state`` and ``accepted_at`` (s since the epoch, by the store's clock) are None while the message waits for the
    commit of a Django transaction. ``spooled`` messages wait in this host's spool for the ledger.
    """

    id: str
    message_id: str
    state: State | None = None
    accepted_at: float | None = None
    spooled: bool = False

    def status(self) -> MessageStatus:
        """Ask what became of the message; raises as ``mailqueue.status()``."""
        return status(self.id)


@dataclass(slots=True)
class _Call:
    """What the messages of one call have in common."""

    route: Route
    labels: Mapping[str, Any] | None
    limits: Limits
    given_up: bool = False  # on commit: the store is away, and each further try would cost the caller the deadline


class Producer:
    """Enqueues messages by way of a ledger and a publisher. Safe across threads.

    Args:
        ledger: Whose calls take half of the deadline at most.
        publisher: Of the tasks.
        deadline: How long accepting may take, in s.
        clock: s since the epoch.
    """

    def __init__(
        self, ledger: Ledger, publisher: Publisher, *, deadline: float = 2.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.ledger = ledger
        self._publisher = publisher
        self._deadline = deadline
        self._clock = clock

    def close(self) -> None:
        """Close the connections to the ledger and the broker; they are opened again when they are needed."""
        self.ledger.close()
        self._publisher.close()

    def enqueue(self, message: Any, route: Route, *, labels: Mapping[str, Any] | None = None) -> Receipt:
        """Enqueue one message; raises as ``mailqueue.enqueue()``."""
        call = _Call(route, labels, _limits())
        packed = self._pack(message, call)
        shipment = Shipment(time.monotonic())
        shipment.add(packed)
        self._send(shipment, call)
        return packed.receipt

    def enqueue_many(
        self,
        messages: Iterable[Any],
        route: Route,
        *,
        labels: Mapping[str, Any] | None = None,
        accepted: list[Receipt],
    ) -> None:
        """Enqueue messages as they come, a parcel at a time, and put their receipts into ``accepted``.

        When ``messages`` raises, or a message is refused, those before it are accepted first. What is raised then has
        the receipts, too: as its attribute ``receipts``, if it takes one.
        """
        call = _Call(route, labels, _limits())
        shipment: Shipment | None = None
        try:
            try:
                for message in messages:
                    packed = self._pack(message, call)
                    if shipment is not None and not shipment.has_room(packed, time.monotonic()):
                        full, shipment = shipment, None
                        accepted += self._send(full, call)
                    shipment = shipment or Shipment(time.monotonic())
                    shipment.add(packed)
            except Exception as stop:
                if shipment is not None:  # it is None if what has failed is sending one
                    self._send_before(stop, shipment, call, accepted)
                raise
            if shipment is not None:
                accepted += self._send(shipment, call)
        except Exception as stop:
            if accepted:
                _note(stop, f"{len(accepted)} messages before it are accepted; `receipts` has their receipts")
            with contextlib.suppress(AttributeError, TypeError):  # an exception of fixed attributes
                stop.receipts = accepted  # type: ignore[attr-defined]
            raise

    # -- the steps

    def _pack(self, message: Any, call: _Call) -> Packed:
        now = self._clock()
        id_ = new_id(now)
        route = call.route
        envelope, blobs = pack(
            message,
            id=id_,
            now=now,
            lane=route.lane,
            relay=route.relay,
            on_unknown=route.on_unknown,
            labels=call.labels,
            limits=call.limits,
        )
        if not envelope.recipients():
            raise InvalidMessage("the message has no recipients")
        submission = Submission(id_, encode(envelope), route.relay, envelope.blobs(), route.on_unknown)
        return Packed(message, submission, Receipt(id_, envelope.message_id), blobs)

    def _send(self, shipment: Shipment, call: _Call) -> list[Receipt]:
        """Accept and publish ``shipment``, now or on commit; returns its receipts, which its messages get as well."""
        if not on_commit(lambda: self._send_on_commit(shipment, call)):
            self._accept_and_publish(shipment, call)
        for packed in shipment.load:
            with contextlib.suppress(AttributeError, TypeError):  # an object that takes no attributes
                packed.message.receipt = packed.receipt
        return shipment.receipts()

    def _send_before(self, stop: Exception, shipment: Shipment, call: _Call, accepted: list[Receipt]) -> None:
        """Send what came before ``stop``; trouble with that becomes a note on ``stop``, which is what is raised."""
        try:
            accepted += self._send(shipment, call)
        except BrokerUnavailable as trouble:
            _note(stop, f"{len(shipment.load)} messages before it were not accepted: {trouble}")

    def _send_on_commit(self, shipment: Shipment, call: _Call) -> None:
        ids = ",".join(packed.submission.id for packed in shipment.load)
        if call.given_up:
            logger.error("action=lost_on_commit messages=%s", ids)
            return
        try:
            self._accept_and_publish(shipment, call)
        except Exception:
            call.given_up = True
            # The transaction is committed, and its caller must not be told otherwise.
            logger.exception("action=lost_on_commit messages=%s", ids)

    def _accept_and_publish(self, shipment: Shipment, call: _Call) -> None:
        end = time.monotonic() + self._deadline
        lane = call.route.lane
        acceptance = self._accept(lane, shipment, end)
        receipts = {packed.submission.id: packed.receipt for packed in shipment.load}
        for one in acceptance.accepted:
            receipts[one.id].state = one.state
            receipts[one.id].accepted_at = one.accepted_at
        # Not by ``new``: a repeated call whose first answer was lost finds its own messages there.
        items = tuple(
            (packed.submission.id, packed.submission.envelope)
            for packed in shipment.load
            if packed.receipt.state is State.QUEUED
        )
        if items:
            self._publish(Parcel(lane, acceptance.number, items), receipts, end)

    def _accept(self, lane: str, shipment: Shipment, end: float) -> Acceptance:
        submissions = [packed.submission for packed in shipment.load]
        try:
            acceptance = self.ledger.accept(lane, submissions)
            if acceptance.lacking:
                self._check_time(end)
                self.ledger.put_blobs({key: shipment.blobs[key] for key in acceptance.lacking})
                self._check_time(end)
                acceptance = self.ledger.accept(lane, submissions)
        except LedgerUnavailable as trouble:
            raise self._unavailable(str(trouble), submissions) from trouble
        if acceptance.lacking:
            raise self._unavailable("the ledger's store does not keep large parts: is it evicting keys?", submissions)
        return acceptance

    def _unavailable(self, why: str, submissions: list[Submission]) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"not accepted within MAILQUEUE_DEADLINE ({self._deadline:g} s): {why}",
            message_ids=[submission.id for submission in submissions],
        )

    def _publish(self, parcel: Parcel, receipts: Mapping[str, Receipt], end: float) -> None:
        if not self._publisher.publish([parcel], within=max(end - time.monotonic(), self._deadline / 10)):
            return
        # Accepted all the same. Without this the workers find out, only later, that the tasks are lost.
        ids = [id_ for id_, _envelope in parcel.items]
        try:
            self._check_time(end)
            self.ledger.unpublished(ids)
        except LedgerUnavailable as trouble:
            logger.warning("action=unpublished_failed messages=%d error=%s", len(ids), trouble)
        else:
            for id_ in ids:
                receipts[id_].state = State.DEFERRED

    def _check_time(self, end: float) -> None:
        """Raise LedgerUnavailable if another call of the ledger could outlast the deadline."""
        if end - time.monotonic() < self._deadline * _CALL * 0.9:
            raise LedgerUnavailable("the ledger's store is too slow")


def _note(error: Exception, text: str) -> None:
    with contextlib.suppress(AttributeError, TypeError):  # an exception of fixed attributes
        error.add_note(f"mailqueue: {text}")


# -- the producer of this process, and the doors to it


_current: tuple[tuple[Any, ...], Producer] | None = None
_lock = threading.Lock()
_parents: list[Any] = []  # what was made before a fork is the parent's: closing it here would close it there


def _after_fork() -> None:
    global _current, _lock  # noqa: PLW0603 - of the process, and this is another one
    _lock = threading.Lock()  # the old one may be held by a thread that is not here
    _parents.append(_current)
    _current = None


os.register_at_fork(after_in_child=_after_fork)

#: What a producer stands on, looked at for each mail; the times that a ledger is opened with are read with it.
_SETTINGS: Final = ("MAILQUEUE_BROKER_URL", "MAILQUEUE_LEDGER_URL", "MAILQUEUE_KEY_PREFIX", "MAILQUEUE_DEADLINE")


def get_producer() -> Producer:
    """Return the producer of this process; a new one when the settings that it stands on have changed."""
    global _current  # noqa: PLW0603 - of the process
    key = tuple(conf.get(name) for name in _SETTINGS)
    current = _current
    if current is None or current[0] != key:
        with _lock:
            current = _current
            if current is None or current[0] != key:
                current = _current = key, _make(*key)
    return current[1]


def _make(broker: str, ledger: str, prefix: str, deadline: float) -> Producer:
    return Producer(
        open_ledger(
            ledger,
            prefix=prefix,
            lease_seconds=conf.get("MAILQUEUE_LEASE_SECONDS"),
            retention=conf.get("MAILQUEUE_RETENTION"),
            timeout=deadline * _CALL,
        ),
        Publisher(broker, deadline=deadline),
        deadline=deadline,
    )


def close() -> None:
    """Close the producer of this process, if there is one; the next message makes another."""
    global _current
    with _lock:
        current, _current = _current, None
    if current is not None:
        current[1].close()


def _limits() -> Limits:
    return Limits(
        message_bytes=conf.get("MAILQUEUE_MAX_MESSAGE_BYTES"), recipients=conf.get("MAILQUEUE_MAX_RECIPIENTS")
    )


def enqueue(
    message: Any,
    *,
    using: str | None = None,
    lane: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_unknown: str | None = None,
) -> Receipt:
    """Enqueue one message: when this returns, it is durably accepted.

    Inside a Django transaction it is accepted on commit, unless MAILQUEUE_ON_COMMIT is off.

    Args:
        message: An EmailMessage, ours or Django's, or whatever else has ``message()`` and ``recipients()``.
        using: An alias of MAILERS: one that enqueues, whose OPTIONS name the alias that delivers and the lane; or
            any other, which then delivers in the worker.
        lane: urgent, default or bulk.
        metadata: The caller's own, JSON; ``status()`` shows it until the message is sent.
        on_unknown: What to do if its answer is lost: "resend" or "hold". Default: MAILQUEUE_ON_UNKNOWN.

    Raises:
        InvalidMessage: MessageTooLarge, TooManyRecipients, no recipients, an unknown lane.
        ValueError: BadHeaderError and whatever else ``message.message()`` refuses.
        TypeError: for what is no message, and for attributes or metadata that JSON cannot carry.
        MailerDoesNotExist, InvalidMailer: for ``using``.
        BrokerUnavailable: when the ledger does not accept it within MAILQUEUE_DEADLINE.
    """
    return get_producer().enqueue(message, route_using(using, lane=lane, on_unknown=on_unknown), labels=metadata)


def enqueue_many(
    messages: Iterable[Any],
    *,
    using: str | None = None,
    lane: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_unknown: str | None = None,
) -> list[Receipt]:
    """Enqueue messages, up to 100 a task; returns their receipts in order.

    ``messages`` may be any iterable; it is read as it goes, and never held as a whole. Everything else is as with
    ``enqueue()``. Whatever is raised has the receipts of the messages accepted before it as its attribute
    ``receipts``: an iterator that fails half-way leaves the messages before it accepted.
    """
    receipts: list[Receipt] = []
    route = route_using(using, lane=lane, on_unknown=on_unknown)
    get_producer().enqueue_many(messages, route, labels=metadata, accepted=receipts)
    return receipts


def status(message_id: str) -> MessageStatus:
    """Tell what became of the message with the id of a receipt.

    Raises:
        MessageNotFound: never accepted (yet), or past its retention.
        LedgerUnavailable: when the ledger does not answer.
    """
    return MessageStatus.of(get_producer().ledger.get(message_id))


def counts() -> dict[str, dict[str, int]]:
    """The number of messages by lane and state; final states count all that ever ended so.

    Raises:
        LedgerUnavailable: when the ledger does not answer.
    """
    return get_producer().ledger.counts()
