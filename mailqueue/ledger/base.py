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

    from mailqueue.ledger.campaigns import Campaigns
    from mailqueue.ledger.rates import Rates
    from mailqueue.ledger.schedules import Schedules
    from mailqueue.ledger.states import State
    from mailqueue.ledger.suppressions import Suppressions
    from mailqueue.outcome import Result

__all__ = [
    "Acceptance",
    "Accepted",
    "Checkup",
    "Claim",
    "Draft",
    "Entry",
    "Grant",
    "Ledger",
    "Publication",
    "RelayMark",
    "Setback",
    "Settlement",
    "Submission",
    "Ticked",
    "final_entry",
]


@dataclass(frozen=True, slots=True)
class Submission:
    """One message to be accepted: its id, its encoded envelope, and what the ledger itself must know of it.

    Times are s since the epoch, by the store's clock; 0.0 is none. ``key_digest`` tells the contents of two messages
    with one idempotency ``key`` apart.
    """

    id: str
    envelope: bytes
    relay: str = ""  # alias of the relay that is to deliver; "" is the default delivery backend
    blobs: tuple[str, ...] = ()  # content hashes of the large parts that the envelope refers to
    on_unknown: str = "resend"  # or "hold"
    send_at: float = 0.0  # not to be sent before
    expires_at: float = 0.0  # not to be sent from then on
    key: str = ""  # the caller's idempotency key
    key_digest: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """The task that is to carry the messages of an ``accept``, ready for the broker's queue but for its number.

    For a ledger in the broker's own Redis: it pushes ``head``, the number and ``tail`` to the list ``key``.
    """

    key: str
    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one submission. ``new`` is False if its id or key was known already; nothing changed then.

    ``id`` is that of the recorded message: the submission's own, ``asked``, or the first one's that took its key.
    """

    id: str
    state: State
    accepted_at: float
    new: bool
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Answer to ``accept``. With ``lacking`` non-empty nothing was written: put those blobs and ask again."""

    number: int  # the task's number in its lane; 0 if nothing was new
    accepted: tuple[Accepted, ...] = ()
    lacking: tuple[str, ...] = ()
    published: bool = False  # the draft was pushed: there is nothing left to publish


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to attempt one message until the lease ends.

    ``results`` are those of earlier attempts, by recipient; who is missing there or was deferred is outstanding.
    """

    id: str
    attempt: int  # of this attempt, from 1; attempts that cost nothing (relay trouble) are not counted
    since: float  # from when its age counts: accepted, its send_at, or requeued or given free by hand
    results: Mapping[str, Result] = field(default_factory=dict)
    suspect: bool = False  # an earlier claim of it ended in a crash
    unknowns: int = 0  # how often its answer was lost


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

    ``state`` is SENT, PARTIAL or FAILED; CANCELLED if it must not be sent (its address is suppressed); DEFERRED with ``due_in``; UNKNOWN (the ledger then applies the message's
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
    expires_at: float | None = None
    key: str = ""  # the idempotency key; a digest of it if it is longer than 64 octets
    asked: State | None = None  # cancelled or held, if that will happen as soon as it can


def final_entry(message_id: str, state: State, reply: str, *, lane: str) -> Entry:
    """What is known of a campaign's message that has ended, its own record gone."""
    return Entry(
        id=message_id,
        state=state,
        lane=lane,
        relay="",
        attempts=0,
        crashes=0,
        unknowns=0,
        accepted_at=0.0,
        updated_at=0.0,
        due_at=None,
        reason=reply,
        results={},
        envelope=None,
    )


@dataclass(frozen=True, slots=True)
class RelayMark:
    """A relay in trouble, as the whole fleet sees it."""

    relay: str
    since: float  # when the trouble began
    until: float  # nobody asks it before
    times: int  # troubles in a row, each a probe that failed; 0 if it is only latched
    reason: str
    prober: str = ""  # the owner that is asking it just now
    latched: tuple[str, ...] = ()  # fingerprints of settings whose credentials it has refused


@dataclass(frozen=True, slots=True)
class Setback:
    """Answer to ``relay_trouble``: s that what met it has to wait, and whether the fleet did not know yet.

    ``down`` is False if that was over the same lone message again: others need not wait.
    """

    wait: float
    news: bool
    down: bool = True


@dataclass(frozen=True, slots=True)
class Checkup:
    """What the store's own settings mean for the mail in it, one sentence each with its remedy."""

    problems: tuple[str, ...] = ()  # mail can be lost in normal operation: refuse to start
    warnings: tuple[str, ...] = ()  # mail can be lost when the store crashes


class Ledger(abc.ABC):
    """The durable record of every message, shared by producers and workers."""

    suppressions: Suppressions  #: addresses and domains that bulk mail does not go to

    # -- producer

    @abc.abstractmethod
    def accept(
        self,
        lane: str,
        submissions: Sequence[Submission],
        *,
        restored: bool = False,
        replayed: bool = False,
        draft: Draft | None = None,
    ) -> Acceptance:
        """Record ``submissions`` as queued in ``lane``, under one new number of the lane, unless their ids are known.

        A campaign's message (its id is made by ``campaigns.message_of``) is new only if its recipient waits in the
        campaign; else its answer is what became of it, cancelled if there was no such recipient.

        Those whose ``send_at`` lies ahead are scheduled instead, and not under that number; the tick queues them.
        All or nothing: with a blob lacking nothing is written. Each submission joins the users of its blobs.
        ``restored`` counts them as accepted again from a task whose record was lost; where the campaign of one was lost
        as well, or does not know it, it is accepted as a message of its own.

        A submission whose key was taken with the same digest writes nothing: its answer is the first message under
        that key. ``replayed`` is for a spool, whose receipts are out: ``get`` and the operators' calls then know the
        first message by the id of the second as well. A key lives as long as its message's record.

        ``draft`` is the task for all of them, to be published in the same step if all of them are queued by it; a ledger
        that cannot do that lets it be. It is told in the answer (``published``), and is the caller's to publish if not.

        Raises:
            IdempotencyConflict: A key was taken with another digest. Nothing of the call was written.
        """

    @abc.abstractmethod
    def durable(self, timeout: float) -> None:
        """Wait until all that was accepted so far is synced to the disk of the store (WAITAOF of Redis 7.2, Valkey).

        To be called after ``accept``; before the first one, it tells whether the store can do this at all.

        Args:
            timeout: s.

        Raises:
            ImproperlyConfigured: The store cannot. Says why, and the remedy.
            LedgerUnavailable: Not synced within ``timeout``; what was accepted stays so.
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
        same grants. A message past its ``expires_at`` expires, and is refused. One whose campaign is paused or closed is
        held until that goes on, one whose campaign has ended otherwise ends like it; both are refused.
        """

    @abc.abstractmethod
    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        """Their last bytes are about to go out: mark them begun, renew their leases; False for each not ours any more.

        A message past its ``expires_at`` expires instead, and is not ours any more: nothing is sent late. The same with one
        whose campaign does not let it go out now, as in ``claim``.
        """

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

        Answered in full once per 0.5 s for the whole fleet (0.1 s after one that met its limit), else empty. What is
        returned has been set to queued and must be published by the caller (or given back by ``unpublished``); if it
        dies first, the loss is found.
        """

    # -- operator

    @abc.abstractmethod
    def cancel(self, ids: Sequence[str]) -> list[str]:
        """Withdraw messages: no copy goes out from now on. Says for each what it could do.

        "cancelled"; "cancelling" if its last byte may be going out just now, or its answer was lost (unknown): it is
        cancelled instead of being sent another time; "late" if it is final already; "missing".
        """

    @abc.abstractmethod
    def hold(self, ids: Sequence[str], reason: str = "") -> list[str]:
        """Park messages until ``unhold``. Answers as ``cancel``, with "held" and "holding".

        "cancelling" for a message that is about to be cancelled: that stands.
        """

    @abc.abstractmethod
    def unhold(self, ids: Sequence[str]) -> list[str]:
        """Let held messages go: "deferred", due now or at their ``send_at``, their age counted anew.

        Takes back a "holding" as well ("sending"). "refused" for what is not held; "missing".
        """

    @abc.abstractmethod
    def requeue(self, ids: Sequence[str]) -> list[str]:
        """Send failed and partial messages again, to their refused recipients only: "deferred", due now.

        Attempts, crashes and age count anew. "refused" for messages in other states; "missing".
        """

    @abc.abstractmethod
    def resolve(
        self, message_id: str, state: State, *, reason: str = "", results: Mapping[str, Result] | None = None
    ) -> State:
        """Settle an unknown message by hand: sent, partial, failed, deferred (another copy, due now) or held.

        A message that was held for want of an answer is settled likewise. Returns the new state, which is cancelled
        for deferred if that was asked for meanwhile. ``results`` are laid over those known.

        Raises:
            MessageNotFound:
            IllegalTransition: It waits for no answer, or cannot be settled so.
        """

    @abc.abstractmethod
    def get(self, message_id: str) -> Entry:
        """All that is known of a message; raises MessageNotFound.

        Of a campaign's message that has ended only state, lane and ``reason`` are kept, which then is the relay's reply.
        """

    @abc.abstractmethod
    def list(
        self, state: State, *, lane: str | None = None, relay: str | None = None, after: str = "", limit: int = 100
    ) -> list[str]:
        """Ids of messages in ``state`` (any but sent, cancelled and expired, which are not indexed), oldest first.

        Those of all lanes and relays unless told which; queued ones come lane by lane. ``after`` is the last id of
        the page before this one: should that message have left the state, the list begins anew.
        """

    @abc.abstractmethod
    def counts(self) -> dict[str, dict[str, int]]:
        """Messages by lane and state. Final states count every message that ended so, also those past retention."""

    @abc.abstractmethod
    def counters(self) -> dict[str, int]:
        """Events since the ledger was new: fenced, crashed, lost, restored, unknown, resent, expired_leases..."""

    # -- relays in trouble, for the whole fleet

    @abc.abstractmethod
    def relay_trouble(
        self,
        relay: str,
        *,
        owner: str,
        delay: float,
        longest: float = 300.0,
        latch: str = "",
        over: str = "",
        reason: str = "",
    ) -> Setback:
        """``owner`` met trouble with ``relay``: nobody asks it for ``delay`` s.

        Each probe that fails doubles that, up to ``longest``; what others meet meanwhile counts for nothing, it is the
        same trouble. ``latch`` is the fingerprint of settings whose credentials were refused: with these the relay is
        not asked again, until the latch is as old as the retention. ``over`` is the id of the message that all of it
        was over, if it was one: the same one for a second time proves nothing, and only that message has to wait.
        """

    @abc.abstractmethod
    def relay_probe(self, relay: str, owner: str, *, fingerprint: str = "") -> float:
        """Seconds that ``owner`` has to wait before it may ask ``relay``; 0.0: it may now.

        Of a relay in trouble, that makes it the one prober, for a minute or until it says how that went. It may ask
        again meanwhile. Settings whose ``fingerprint`` is latched never get to ask.
        """

    @abc.abstractmethod
    def relay_recovered(self, relay: str, *, by_hand: bool = False) -> bool:
        """``relay`` has answered: the trouble is over; False if there was none. ``by_hand`` takes latches off, too."""

    @abc.abstractmethod
    def relay_states(self) -> Mapping[str, RelayMark]:
        """The relays in trouble; those that are well are not there."""

    # -- beside the messages: ports of their own, each made once per ledger

    @property
    @abc.abstractmethod
    def campaigns(self) -> Campaigns:
        """The campaigns of bulk mail."""

    @property
    @abc.abstractmethod
    def schedules(self) -> Schedules:
        """What is started again and again."""

    @property
    @abc.abstractmethod
    def rates(self) -> Rates:
        """The rate limits, for the whole fleet."""

    # -- the store

    @abc.abstractmethod
    def check(self, *, durable: bool = False) -> Checkup:
        """Judge the store's settings: one that evicts keys is a problem, one without an append-only file a warning.

        With ``durable`` it is a problem as well if the store cannot do what the call of that name asks of it.
        A store that does not let us look has neither. Raises LedgerUnavailable.
        """

    @abc.abstractmethod
    def ping(self) -> None:
        """Raise LedgerUnavailable unless the store answers."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections of this process."""
