"""The way in: a message is validated, serialised, accepted by the ledger, and published as a task, in this order.

The ledger's accept decides. What comes before it refuses a message in the caller, and nothing is stored; what comes
after it cannot: a task that is not published now is published by the workers' tick. Both are left to ``intake``.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mailqueue import conf
from mailqueue.codec import encode
from mailqueue.conf.url import in_one_store
from mailqueue.digest import check_key, digest
from mailqueue.envelope import Limits, pack
from mailqueue.errors import BrokerUnavailable, IdempotencyConflict, InvalidMessage, MessageNotFound, SpoolError
from mailqueue.ids import new_id
from mailqueue.intake import CALL, Intake
from mailqueue.ledger.base import Submission
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.open import open_ledger
from mailqueue.mail.utils import DNS_NAME
from mailqueue.publisher import Publisher
from mailqueue.report import MessageStatus, RecipientStatus
from mailqueue.route import Route, route_using
from mailqueue.schedule import ANY_TIME, Schedule, schedule
from mailqueue.shipment import Packed, Shipment
from mailqueue.spool import open_spool
from mailqueue.transaction import on_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from mailqueue.ledger.base import Ledger
    from mailqueue.ledger.states import State
    from mailqueue.spool import Spool

__all__ = [
    "Cancellation",
    "Count",
    "MessageStatus",
    "Producer",
    "Receipt",
    "RecipientStatus",
    "close",
    "counts",
    "enqueue",
    "enqueue_many",
    "get_producer",
    "prepare",
    "status",
]

logger = logging.getLogger(__name__)


class Cancellation(enum.StrEnum):
    """What ``cancel()`` could do. True if no copy of the message goes out any more."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"  # it may be going out just now; if it is not sent by that, it is cancelled
    LATE = "late"  # it is final already
    MISSING = "missing"  # the ledger does not know it

    def __bool__(self) -> bool:
        return self is Cancellation.CANCELLED


@dataclass(slots=True)
class Receipt:
    """What the caller gets for a message. ``message_id`` is its Message-ID header.

    ``state`` and ``accepted_at`` (s since the epoch, by the store's clock) are None while the message waits for the
    commit of a Django transaction, and for ``spooled`` messages, which wait on this host's disk for the ledger. For
    an idempotency key that was used before, all of it is the first message's, once this one is accepted; its
    ``message_id`` is empty if that is not known any more.
    """

    id: str
    message_id: str
    state: State | None = None
    accepted_at: float | None = None
    spooled: bool = False

    def status(self) -> MessageStatus:
        """Ask what became of the message; raises as ``mailqueue.status()``."""
        return status(self.id)

    def cancel(self) -> Cancellation:
        """Withdraw the message, if that is still possible; raises LedgerUnavailable."""
        return get_producer().cancel([self.id])[0]


class Count:
    """Stands in for a list of receipts, and only counts them: those of a mass mailing would take 300 octets each."""

    def __init__(self) -> None:
        self._number = 0

    def extend(self, receipts: Sequence[Receipt]) -> None:
        """Count ``receipts``."""
        self._number += len(receipts)

    def __len__(self) -> int:
        return self._number


@dataclass(slots=True)
class _Call:
    """What the messages of one call have in common."""

    route: Route
    labels: Mapping[str, Any] | None
    limits: Limits
    schedule: Schedule
    key: Callable[[Any], str | None] | None
    given_up: bool = False  # on commit: the store is away, and each further try would cost the caller the deadline


class Producer:
    """Enqueues messages by way of a ledger and a publisher. Safe across threads.

    Args:
        ledger: Whose calls take half of the deadline at most.
        publisher: Of the tasks.
        deadline: How long accepting may take, in s.
        spool: For what the ledger cannot take; None for no spool.
        durable: Wait for the fsync of the ledger's store.
        together: The ledger is in the store of the broker.
        clock: s since the epoch.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = ledger
        self.spool = spool
        self.publisher = publisher
        self._intake = Intake(ledger, publisher, deadline=deadline, spool=spool, durable=durable, together=together)
        self._clock = clock

    def close(self) -> None:
        """Close the connections to the ledger and the broker; they are opened again when they are needed."""
        self._intake.close()

    def enqueue(
        self,
        message: Any,
        route: Route,
        *,
        labels: Mapping[str, Any] | None = None,
        schedule: Schedule = ANY_TIME,
        key: str | None = None,
    ) -> Receipt:
        """Enqueue one message; raises as ``mailqueue.enqueue()``."""
        call = _Call(route, labels, _limits(), schedule, None if key is None else lambda _message: key)
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
        schedule: Schedule = ANY_TIME,
        key: Callable[[Any], str | None] | None = None,
        accepted: list[Receipt] | Count,
    ) -> None:
        """Enqueue messages as they come, a parcel at a time, and put their receipts into ``accepted``.

        When ``messages`` raises, or a message is refused, those before it are accepted first. What is raised then says
        how many, in its attribute ``accepted``, and has a list of receipts as ``receipts``, if it takes attributes.
        """
        call = _Call(route, labels, _limits(), schedule, key)
        shipment: Shipment | None = None
        try:
            try:
                for message in messages:
                    packed = self._pack(message, call)
                    if shipment is not None and not shipment.has_room(packed, time.monotonic()):
                        full, shipment = shipment, None
                        self._send_in_order(full, call, accepted)
                    shipment = shipment or Shipment(time.monotonic())
                    shipment.add(packed)
            except Exception as stop:
                if shipment is not None:  # it is None if what has failed is sending one
                    self._send_before(stop, shipment, call, accepted)
                raise
            if shipment is not None:
                self._send_in_order(shipment, call, accepted)
        except Exception as stop:
            kept = isinstance(accepted, list)
            if accepted:
                where = "; `receipts` has their receipts" if kept else ""
                _note(stop, f"{len(accepted)} messages before it are accepted{where}")
            with contextlib.suppress(AttributeError, TypeError):  # an exception of fixed attributes
                stop.accepted = len(accepted)  # type: ignore[attr-defined]
                if kept:
                    stop.receipts = accepted  # type: ignore[attr-defined]
            raise

    def cancel(self, ids: Sequence[str]) -> list[Cancellation]:
        """Withdraw messages, also those in this host's spool; raises LedgerUnavailable, SpoolError."""
        withdrawn: set[str] = set()
        if self.spool is not None:
            # First, or the ledger could get one after it was asked: from there, or by an accept that was given up.
            self.spool.hand_over(ids, self.ledger)
            withdrawn.update(self.spool.withdraw(ids))  # what is held there
        answers = [Cancellation(word) for word in self.ledger.cancel(ids)]
        return [
            Cancellation.CANCELLED if answer is Cancellation.MISSING and id_ in withdrawn else answer
            for id_, answer in zip(ids, answers, strict=True)
        ]

    def status(self, message_id: str) -> MessageStatus:
        """Tell what became of a message; raises as ``mailqueue.status()``."""
        try:
            return MessageStatus.of(self.ledger.get(message_id))
        except MessageNotFound:
            if not self._is_spooled(message_id):
                raise
        raise MessageNotFound(message_id, spooled=True)

    def _is_spooled(self, message_id: str) -> bool:
        try:
            return self.spool is not None and self.spool.envelope(message_id) is not None
        except SpoolError:
            return False

    # -- the steps

    def _pack(self, message: Any, call: _Call) -> Packed:
        now = self._clock()
        id_ = new_id(now)
        route = call.route
        expires_at = call.schedule.expiry(now)
        envelope, blobs = pack(
            message,
            id=id_,
            now=now,
            lane=route.lane,
            relay=route.relay,
            on_unknown=route.on_unknown,
            labels=call.labels,
            expires_at=expires_at,
            limits=call.limits,
        )
        if not envelope.recipients():
            raise InvalidMessage("the message has no recipients")
        key = call.key(message) if call.key is not None else None
        submission = Submission(
            id_,
            encode(envelope),
            route.relay,
            tuple(blobs),
            route.on_unknown,
            call.schedule.send_at,
            expires_at,
            *(() if key is None else (check_key(key), digest(envelope, blobs))),
        )
        return Packed(message, submission, Receipt(id_, envelope.message_id), blobs)

    def _send(self, shipment: Shipment, call: _Call) -> None:
        """Accept and publish ``shipment``, now or on commit; its messages get their receipts."""
        if not on_commit(lambda: self._send_on_commit(shipment, call)):
            self._intake.take(call.route.lane, shipment)
        for packed in shipment.load:
            try:
                packed.message.receipt = packed.receipt
            except (AttributeError, TypeError):  # costs nothing while nothing is raised, unlike suppress()
                continue  # an object that takes no attributes

    def _send_in_order(self, shipment: Shipment, call: _Call, accepted: list[Receipt] | Count) -> None:
        """Send ``shipment``, its receipts to ``accepted``; if a key in it conflicts, what comes before that message."""
        try:
            self._send(shipment, call)
        except IdempotencyConflict as conflict:
            before, _after = shipment.around(conflict)
            if before.load:
                self._send_in_order(before, call, accepted)
            raise
        accepted.extend(shipment.receipts())

    def _send_before(self, stop: Exception, shipment: Shipment, call: _Call, accepted: list[Receipt] | Count) -> None:
        """Send what came before ``stop``; trouble with that becomes a note on ``stop``, which is what is raised."""
        count = len(accepted) + len(shipment.load)
        try:
            self._send_in_order(shipment, call, accepted)
        except (BrokerUnavailable, IdempotencyConflict) as trouble:
            _note(stop, f"{count - len(accepted)} messages before it were not accepted: {trouble}")

    def _send_on_commit(self, shipment: Shipment, call: _Call) -> None:
        ids = ",".join(packed.submission.id for packed in shipment.load)
        if call.given_up:
            logger.error("action=lost_on_commit messages=%s", ids)
            return
        try:
            self._intake.take(call.route.lane, shipment)
        except IdempotencyConflict as conflict:
            logger.error("action=conflict_on_commit key=%s message=%s", conflict.key, conflict.message_id)  # noqa: TRY400 - no traceback wanted
            for part in shipment.around(conflict):
                if part.load:
                    self._send_on_commit(part, call)
        except Exception:
            call.given_up = True
            # The transaction is committed, and its caller must not be told otherwise.
            logger.exception("action=lost_on_commit messages=%s", ids)


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
_SETTINGS: Final = (
    "MAILQUEUE_BROKER_URL",
    "MAILQUEUE_LEDGER_URL",
    "MAILQUEUE_KEY_PREFIX",
    "MAILQUEUE_DEADLINE",
    "MAILQUEUE_SPOOL",
    "MAILQUEUE_DURABILITY",
)


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


def _make(broker: str, ledger: str, prefix: str, deadline: float, *_: Any) -> Producer:
    opened = open_ledger(
        ledger,
        prefix=prefix,
        lease_seconds=conf.get("MAILQUEUE_LEASE_SECONDS"),
        retention=conf.get("MAILQUEUE_RETENTION"),
        timeout=deadline * CALL,
    )
    return Producer(
        opened,
        Publisher(broker, deadline=deadline),
        # What lasts ten minutes lasts ten of those that a test lets pass.
        clock=opened.now if isinstance(opened, MemoryLedger) else time.time,
        deadline=deadline,
        spool=open_spool(),
        durable=conf.get("MAILQUEUE_DURABILITY") == "always",
        together=in_one_store(broker, ledger),
    )


def prepare() -> None:
    """Load and look up now what the first mail of this process needs, so that no request waits for it: 0.15 s.

    To be called when an application starts. Connects to nothing, so that it may come before a fork. Raises
    ImproperlyConfigured for settings that cannot work.
    """
    get_producer()
    DNS_NAME.get_fqdn()


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
    send_at: datetime | None = None,
    expires_at: datetime | timedelta | None = None,
    idempotency_key: str | None = None,
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
        send_at: Not to be sent before; aware. One that has passed is now.
        expires_at: Not to be sent from then on: it expires instead. An aware datetime, or a timedelta that counts
            from ``send_at``, or from now.
        idempotency_key: The caller's own name for this message, as long as the ledger knows it. A message under a
            key that was used before is not accepted; the receipt is that of the first one.
        metadata: The caller's own, JSON; ``status()`` shows it until the message is sent.
        on_unknown: What to do if its answer is lost: "resend" or "hold". Default: MAILQUEUE_ON_UNKNOWN.

    Raises:
        InvalidMessage: MessageTooLarge, TooManyRecipients, no recipients, an unknown lane, a time without a zone.
        IdempotencyConflict: The key was used before, for another content.
        ValueError: BadHeaderError and whatever else ``message.message()`` refuses.
        TypeError: for what is no message, and for attributes or metadata that JSON cannot carry.
        MailerDoesNotExist, InvalidMailer: for ``using``.
        BrokerUnavailable: when neither the ledger accepts it within MAILQUEUE_DEADLINE, nor the spool, if there is one.
        ImproperlyConfigured: MAILQUEUE_DURABILITY is "always", and the store cannot do that.
    """
    route = route_using(using, lane=lane, on_unknown=on_unknown)
    when = schedule(send_at, expires_at)
    return get_producer().enqueue(message, route, labels=metadata, schedule=when, key=idempotency_key)


def enqueue_many(
    messages: Iterable[Any],
    *,
    using: str | None = None,
    lane: str | None = None,
    send_at: datetime | None = None,
    expires_at: datetime | timedelta | None = None,
    idempotency_key: str | Callable[[Any], str | None] | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_unknown: str | None = None,
) -> list[Receipt]:
    """Enqueue messages, up to 100 a task; returns their receipts in order.

    ``messages`` may be any iterable; it is read as it goes, and never held as a whole. Everything else is as with
    ``enqueue()``, but for ``idempotency_key``: a function that gives the key of each message, or a text, to which the
    message's place is added (``news-42/0``, ``news-42/1``, ...), so that the whole call can be repeated.

    Whatever is raised has the receipts of the messages accepted before it as its attribute ``receipts``: an iterator
    that fails half-way leaves the messages before it accepted.
    """
    receipts: list[Receipt] = []
    route = route_using(using, lane=lane, on_unknown=on_unknown)
    when = schedule(send_at, expires_at)
    key = _places(idempotency_key) if isinstance(idempotency_key, str) else idempotency_key
    get_producer().enqueue_many(messages, route, labels=metadata, schedule=when, key=key, accepted=receipts)
    return receipts


def _places(key: str) -> Callable[[Any], str]:
    check_key(key)
    place = itertools.count()
    return lambda _message: f"{key}/{next(place)}"


def status(message_id: str) -> MessageStatus:
    """Tell what became of the message with the id of a receipt.

    Raises:
        MessageNotFound: never accepted (yet), or past its retention; ``spooled`` if it waits in this host's spool.
        LedgerUnavailable: when the ledger does not answer.
    """
    return get_producer().status(message_id)


def counts() -> dict[str, dict[str, int]]:
    """The number of messages by lane and state; final states count all that ever ended so.

    Raises:
        LedgerUnavailable: when the ledger does not answer.
    """
    return get_producer().ledger.counts()
