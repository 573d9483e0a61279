"""The port of the ledger: what the producer, the workers and the operators ask of it.

Leaves storage to its implementations (``memory``, ``redis``); one conformance suite runs on all of them. Every
operation is atomic, is bounded by its arguments, and goes by the store's clock: times are seconds since the epoch
there. Every operation may raise LedgerUnavailable, after which it may have taken effect; each is safe to repeat.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mailqueue.ledger.states import State
    from mailqueue.outcome import Result

__all__ = [
    "Acceptance",
    "Accepted",
    "Claim",
    "Entry",
    "Grant",
    "Ledger",
    "Publication",
    "Settlement",
    "Submission",
    "Ticked",
]


@dataclass(frozen=True, slots=True)
class Submission:
    """One message to be accepted: its id, its encoded envelope, and what the ledger itself must know of it."""

    id: str
    envelope: bytes
    relay: str = ""  # alias of the relay that is to deliver; "" is the default delivery backend
    blobs: tuple[str, ...] = ()  # content hashes of the large parts that the envelope refers to
    on_unknown: str = "resend"  # or "hold"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one submission. ``new`` is False if the id was known already; nothing changed then."""

    id: str
    state: State
    accepted_at: float
    new: bool


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Answer to ``accept``. With ``lacking`` non-empty nothing was written: put those blobs and ask again."""

    number: int  # the task's number in its lane; 0 if nothing was new
    accepted: tuple[Accepted, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to attempt one message until the lease ends.

    ``results`` are those of earlier attempts, by recipient; who is missing there or was deferred is outstanding.
    """

    id: str
    attempt: int  # of this attempt, from 1; attempts that cost nothing (relay trouble) are not counted
    accepted_at: float
    results: Mapping[str, Result] = field(default_factory=dict)
    suspect: bool = False  # an earlier claim of it ended in a crash


@dataclass(frozen=True, slots=True)
class Claim:
    """Answer to ``claim``. ``missing`` are ids without a record.

    ``refused`` tells why: a State, or "alone" for a suspect in company, put back to be sent alone. Those are settled,
    their task is done.
    """

    granted: tuple[Grant, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt made of one message: its next state and all results so far, to be recorded as they are.

    ``state`` is SENT, PARTIAL or FAILED; DEFERRED with ``due_in``; UNKNOWN (the ledger then applies the message's
    policy); HELD (undecodable); or SENDING to save the results of an attempt that goes on (the message is then no
    longer begun).
    """

    id: str
    state: State
    results: Mapping[str, Result] = field(default_factory=dict)
    due_in: float = 0.0  # s
    reason: str = ""  # one line, without addresses


@dataclass(frozen=True, slots=True)
class Publication:
    """One task to be published now: its lane and number, and the envelopes that it carries (none: a barrier)."""

    lane: str
    number: int
    items: tuple[tuple[str, bytes], ...] = ()  # (id, encoded envelope)
    alone: bool = False  # a suspect: to be claimed and sent in no company


@dataclass(frozen=True, slots=True)
class Ticked:
    """Answer to ``tick``: what is to be published, and what was found, as counts by name."""

    publications: tuple[Publication, ...] = ()
    found: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """All that the ledger knows of one message."""

    id: str
    state: State
    lane: str
    relay: str
    attempts: int
    crashes: int
    unknowns: int  # how often its answer was lost: copies of it <= 1 + this
    accepted_at: float
    updated_at: float
    due_at: float | None  # when scheduled or deferred
    reason: str
    results: Mapping[str, Result]
    envelope: bytes | None  # dropped when it is sent, cancelled or expired


class Ledger(abc.ABC):
    """The durable record of every message, shared by producers and workers."""

    # -- producer

    @abc.abstractmethod
    def accept(self, lane: str, submissions: Sequence[Submission], *, restored: bool = False) -> Acceptance:
        """Record ``submissions`` as queued in ``lane``, under one new number of the lane, unless their ids are known.

        All or nothing: with a blob lacking nothing is written. Each submission joins the users of its blobs.
        ``restored`` counts them as accepted again from a task whose record was lost.
        """

    @abc.abstractmethod
    def unpublished(self, ids: Sequence[str], *, due_in: float = 2.0) -> None:
        """The task of these queued messages could not be published: defer them, for the tick to publish."""

    @abc.abstractmethod
    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Store large parts under their content hashes; those that no message joins within 1 h are dropped."""

    @abc.abstractmethod
    def get_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """Fetch large parts; one that is not there is left out."""

    # -- worker

    @abc.abstractmethod
    def claim(
        self, lane: str, ids: Sequence[str], *, token: str, owner: str, number: int = 0, alone: bool = False
    ) -> Claim:
        """Claim queued messages of ``lane`` for ``owner`` under the fence ``token``.

        First raises the lane's mark to ``number``, the highest number popped from its queue. Without ids it does
        only that (a barrier). A suspect is granted only when claimed ``alone``. Repeated under one token it gives the
        same grants.
        """

    @abc.abstractmethod
    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        """Their last bytes are about to go out: mark them begun, renew their leases; False for each not ours any more."""

    @abc.abstractmethod
    def unbegin(self, ids: Sequence[str], token: str) -> None:
        """Their last bytes were not written after all: they are claimed but not begun again."""

    @abc.abstractmethod
    def renew(self, ids: Sequence[str], token: str) -> list[bool]:
        """Renew the leases of claimed messages; False for each that is not ours any more."""

    @abc.abstractmethod
    def record(self, settlements: Sequence[Settlement], token: str) -> list[bool]:
        """Record what became of claimed messages; False, and counted, for each whose fence is another by now.

        A late answer under the fence that still stands also settles a message that was meanwhile found unknown, and
        deferred or queued again. A settlement that was recorded already under this token is True again.
        """

    @abc.abstractmethod
    def release(self, ids: Sequence[str], token: str, *, due_in: float = 0.0, reason: str = "") -> None:
        """Give back claimed messages that were not begun, at no charge: deferred, due in ``due_in`` s."""

    @abc.abstractmethod
    def owners(self, prefix: str) -> list[str]:
        """The owners whose names begin with ``prefix`` that hold claims."""

    @abc.abstractmethod
    def free(self, owner: str) -> int:
        """``owner`` has died: end its claims at once, as an expired lease would; returns their number."""

    @abc.abstractmethod
    def tick(self, limit: int = 500) -> Ticked:
        """Recover and schedule: one bounded pass over what fell due, expired or was lost; any worker may call it.

        Answered in full once per 0.5 s for the whole fleet, else empty. What is returned has been set to queued and
        must be published by the caller (or given back by ``unpublished``); if it dies first, the loss is found.
        """

    # -- operator

    @abc.abstractmethod
    def get(self, message_id: str) -> Entry:
        """All that is known of a message; raises MessageNotFound."""

    @abc.abstractmethod
    def list(self, state: State, *, limit: int = 100) -> list[str]:
        """Ids of messages in ``state`` (any but sent, cancelled and expired, which are not indexed), oldest first."""

    @abc.abstractmethod
    def counts(self) -> dict[str, dict[str, int]]:
        """Messages by lane and state. Final states count every message that ended so, also those past retention."""

    @abc.abstractmethod
    def counters(self) -> dict[str, int]:
        """Events since the ledger was new: fenced, crashed, lost, restored, unknown, resent, expired_leases..."""

    @abc.abstractmethod
    def ping(self) -> None:
        """Raise LedgerUnavailable unless the store answers."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections of this process."""
