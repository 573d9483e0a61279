"""The records of the in-memory ledger, and the ways of a message between states: the twin of ``lua/moves.lua``.

Leaves the operations, the lock and the clock to ``memory``. Times are milliseconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.ledger import rules
from mailqueue.ledger.campaignbook import CampaignBook
from mailqueue.ledger.marks import LaneMarks
from mailqueue.ledger.states import FINAL, State, check

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ANSWERED", "BEGUN", "CLAIMED", "LOST", "Book", "Record"]

# Where a claim stands. It keeps its last phase, with its fence, until the next claim.
CLAIMED: Final = "claimed"
BEGUN: Final = "begun"  # its last byte may go out
LOST: Final = "unknown"  # found to have lost its answer, and charged for it
ANSWERED: Final = "answered"

_INDEX: Final = {
    State.SENDING: "leased",
    State.UNKNOWN: "unknown",
    State.HELD: "held",
    State.PARTIAL: "partial",
    State.FAILED: "failed",
}
_INDEX_OF_LANE: Final = {State.SCHEDULED: "scheduled", State.QUEUED: "queued", State.DEFERRED: "due"}
# States in which nothing is sent any more, not even by hand: the record ends some time, and has no envelope.
_RETIRED: Final = frozenset({State.SENT, State.CANCELLED, State.EXPIRED})
# States in which a message past its expires_at expires. Others come back to one of them first, or end.
_EXPIRABLE: Final = frozenset({State.SCHEDULED, State.QUEUED, State.DEFERRED})


@dataclass(slots=True, eq=False)
class Record:
    """One message."""

    id: str
    lane: str
    relay: str
    hold: bool
    blobs: tuple[str, ...]
    envelope: bytes | None
    accepted: int
    updated: int
    state: State = State.QUEUED
    attempts: int = 0
    crashes: int = 0
    alone_crashes: int = 0
    unknowns: int = 0
    fence: str = ""
    owner: str = ""
    phase: str = ""
    alone: bool = False
    reason: str = ""
    results: bytes = b""
    since: int = 0  # from when its age counts
    deadline: int = 0  # its expires_at; 0 for none
    key: str = ""  # its idempotency key
    asked: State | None = None  # what an operator wants done with it as soon as that can be: cancelled, held
    asked_reason: str = ""
    ends: int | None = None  # when the record does
    retried: bool = False  # its campaign counts it as one that waits for its next attempt
    member: int = 0  # the campaign whose message it is was made then; 0: it is a message of its own

    def is_late(self, now: int) -> bool:
        """Whether it must not be sent any more."""
        return 0 < self.deadline <= now


@dataclass(slots=True)
class Blob:
    """A large part, and who uses it."""

    content: bytes
    users: set[str] = field(default_factory=set)
    expires: int | None = None


class Book:
    """All records, their indexes and tallies; every change of state goes through ``move``."""

    def __init__(self, lease: int, retention: int) -> None:
        self.lease = lease
        self.retention = retention
        self.records: dict[str, Record] = {}
        self.blobs: dict[str, Blob] = {}
        self.campaigns = CampaignBook()
        self.keys: dict[str, tuple[str, str]] = {}  # idempotency key -> id and digest of its message
        self._aliases: dict[str, tuple[str, int]] = {}  # id -> the id that it is known by, and until when
        self.counts: Counter[tuple[str, State]] = Counter()
        self.events: Counter[str] = Counter()
        self._lanes: dict[str, LaneMarks] = {}
        self._indexes: defaultdict[str, dict[str, int]] = defaultdict(dict)

    # -- lanes

    def marks(self, lane: str) -> LaneMarks:
        """How far the queue of ``lane`` has been popped."""
        return self._lanes.setdefault(lane, LaneMarks())

    def lanes_in_use(self) -> list[str]:
        """The lanes that have ever had a message."""
        return sorted({lane for lane, _state in self.counts})

    # -- indexes

    def first(self, index: str, limit: int, *, highest: float = float("inf")) -> list[str]:
        """The first members of an index, by score, up to ``highest``."""
        entries = sorted((score, member) for member, score in self._indexes[index].items() if score <= highest)
        return [member for _score, member in entries[:limit]]

    def score(self, index: str, member: str) -> int | None:
        """The score of a member; None if it is not in the index."""
        return self._indexes[index].get(member)

    def enter(self, index: str, member: str, score: int) -> None:
        """Put a member into an index, or change its score."""
        self._indexes[index][member] = score

    def lower(self, index: str, highest: int, limit: int) -> None:
        """Cut the scores of an index to ``highest``, those of the first members above it."""
        above = sorted((score, member) for member, score in self._indexes[index].items() if score > highest)
        for _score, member in above[:limit]:
            self.enter(index, member, highest)

    def index_of(self, state: State, lane: str) -> str | None:
        """The index that lists the messages of ``state``; None for those without one."""
        if state in _INDEX_OF_LANE:
            return f"{_INDEX_OF_LANE[state]}:{lane}"
        return _INDEX.get(state)

    def queued(self, lane: str) -> int:
        """The number of messages queued in ``lane``."""
        return len(self._indexes[f"queued:{lane}"])

    # -- records

    def load(self, message_id: str, now: int) -> Record | None:
        """The record of a message, unless it is past its retention."""
        record = self.records.get(message_id)
        if record is not None and record.ends is not None and record.ends <= now:
            self._forget(record)
            return None
        return record

    def find(self, message_id: str, now: int) -> Record | None:
        """The record of a message by its id, or by one that a spool gave it before it was found to repeat another."""
        record = self.load(message_id, now)
        if record is None and message_id in self._aliases:
            first, until = self._aliases[message_id]
            return self.load(first, now) if now < until else None
        return record

    def alias(self, message_id: str, first: str, now: int) -> None:
        """Let ``find`` know the message ``first`` by another id as well."""
        self._aliases[message_id] = (first, now + self.retention)

    def holder(self, key: str, now: int) -> tuple[Record, str] | None:
        """The message that took an idempotency key, and the digest of its content."""
        first, digest = self.keys.get(key, ("", ""))
        record = self.load(first, now) if first else None
        return (record, digest) if record else None

    def add(self, record: Record, score: int) -> None:
        """A new message is queued or scheduled, at ``score`` in that state's index."""
        self.records[record.id] = record
        self.enter(f"{record.state}:{record.lane}", record.id, score)
        if record.deadline:
            self.enter("expiring", record.id, record.deadline)
        self.counts[record.lane, record.state] += 1
        campaign = self.campaigns.of(record)
        if campaign:
            campaign.tallies[str(record.state)] += 1
        for key in record.blobs:
            self.join_blob(key, record.id)

    def join_blob(self, key: str, user: str) -> None:
        """A blob has a user more."""
        self.blobs[key].users.add(user)
        self.blobs[key].expires = None

    def blob(self, key: str, now: int) -> Blob | None:
        """A blob, unless its time to live has ended."""
        blob = self.blobs.get(key)
        if blob is not None and blob.expires is not None and blob.expires <= now:
            del self.blobs[key]
            return None
        return blob

    # -- ways between states

    def move(self, record: Record, new: State, score: int, now: int, *, via: Sequence[State] = ()) -> None:
        """Move a message to ``new``, at ``score`` in that state's index, passing through ``via`` on the way."""
        state = record.state
        for step in (*via, new):
            check(state, step)
            state = step
        campaign = self.campaigns.of(record)
        retired = new in (FINAL if campaign else _RETIRED)
        left, entered = self.index_of(record.state, record.lane), self.index_of(new, record.lane)
        if campaign:
            self.campaigns.moved(campaign, record, new)
            self.leave(campaign.parked, record.id)
            entered = None if retired else entered
        if left:
            self._indexes[left].pop(record.id, None)
        if entered:
            self.enter(entered, record.id, score)
        if record.state is State.SENDING:
            record.owner = ""
        if record.deadline:
            self._indexes["expiring"].pop(record.id, None)
            if new in _EXPIRABLE:
                self.enter("expiring", record.id, record.deadline)
        if new not in {State.UNKNOWN, State.SENDING}:
            record.asked = None  # it has come true now, or too late
        self.counts[record.lane, record.state] -= 1
        self.counts[record.lane, new] += 1
        record.state, record.updated = new, now
        if retired:
            record.envelope = None
            # What became of a campaign's message is known by its campaign; its own record is for late repetitions.
            record.ends = now + (2 * self.lease if campaign else self.retention)
            self._leave_blobs(record, now)

    def defer(self, record: Record, due: int, reason: str, now: int, *, via: Sequence[State] = ()) -> None:
        """The one door: what is to be published again waits for the tick. If an operator so asked, it is stopped."""
        if record.asked:
            self._do_as_asked(record, now, via)
            return
        record.reason = reason
        self.move(record, State.DEFERRED, due, now, via=via)

    def _do_as_asked(self, record: Record, now: int, via: Sequence[State]) -> None:
        asked = record.asked
        assert asked, "only called where something was asked for"
        record.reason = rules.REASON_CANCELLED if asked is State.CANCELLED else record.asked_reason
        self.move(record, asked, now, now, via=(*via, State.DEFERRED))

    def expire(self, record: Record, now: int) -> None:
        """It is past its expires_at."""
        self.events["expired"] += 1
        record.reason = rules.REASON_EXPIRED
        waits = record.state in _EXPIRABLE
        self.move(record, State.EXPIRED, now, now, via=() if waits else (State.DEFERRED,))

    def stop(self, record: Record, state: State, now: int) -> None:
        """Its campaign does not let it go out now: cancelled, expired, or parked until it goes on."""
        campaign = self.campaigns.of(record)
        assert campaign, "only a campaign's messages are stopped"
        if state is State.EXPIRED:
            self.expire(record, now)
        elif state is State.CANCELLED:
            record.reason = rules.REASON_CAMPAIGN_CANCELLED
            self.move(record, state, now, now, via=(State.DEFERRED,) if record.state is State.SENDING else ())
        else:
            if record.state is State.SENDING:
                record.phase = CLAIMED
            record.reason = rules.REASON_PARKED
            self.move(record, State.HELD, now, now)
            self.enter(campaign.parked, record.id, now)

    def unpark(self, record: Record, now: int) -> None:
        """Its campaign goes on: it is due now, its age counted anew."""
        record.since = now
        self.defer(record, now, rules.REASON_UNPARKED, now)

    def expirable(self, record: Record, now: int) -> bool:
        """Whether it expires now; what is being sent, or held, has another chance to."""
        return record.state in _EXPIRABLE and record.is_late(now)

    def leave(self, index: str, member: str) -> None:
        """Take a member out of an index."""
        self._indexes[index].pop(member, None)

    def lose_answer(self, record: Record, reason: str, now: int, *, wait: int = 0, via: Sequence[State] = ()) -> None:
        """The last byte may have gone out and no answer was recorded: count it, do as the message's policy says."""
        self._charge_lost_answer(record)
        record.reason = reason
        if record.hold:
            self.move(record, State.UNKNOWN, now, now, via=via)
        elif record.asked:
            self._do_as_asked(record, now, (*via, State.UNKNOWN))
        elif record.unknowns > rules.RESENDS:
            record.reason = rules.REASON_HELD
            self.move(record, State.HELD, now, now, via=(*via, State.UNKNOWN))
        else:
            self.events["resent"] += 1
            self.move(record, State.DEFERRED, now + max(self.lease, wait), now, via=(*via, State.UNKNOWN))

    def crash(self, record: Record, now: int) -> None:
        """The claim has ended without an answer: its worker died, or fell silent past the lease."""
        self.events["crashed"] += 1
        record.crashes += 1
        wait = rules.milliseconds(rules.CRASH_WAIT) * 3**record.alone_crashes if record.alone else 0
        record.alone_crashes += record.alone
        if record.alone and record.alone_crashes >= rules.POISON_CRASHES:
            self.events["poisoned"] += 1
            if record.phase == BEGUN:
                self._charge_lost_answer(record)
            record.reason = rules.REASON_POISON
            self.move(record, State.FAILED, now, now)
        elif record.phase == BEGUN:
            self.lose_answer(record, rules.REASON_ANSWER_LOST, now, wait=wait)
        else:
            self.defer(record, now + wait, rules.REASON_CRASHED, now)

    def _charge_lost_answer(self, record: Record) -> None:
        self.events["unknown"] += 1
        record.unknowns += 1
        record.attempts += 1
        record.phase = LOST

    # -- ends

    def sweep(self, record: Record, now: int) -> None:
        """Forget a message that was kept for operators."""
        self._leave_blobs(record, now)
        index = self.index_of(record.state, record.lane)
        if index:
            self.leave(index, record.id)
        self._forget(record)

    def _forget(self, record: Record) -> None:
        del self.records[record.id]
        self.keys.pop(record.key, None)

    def _leave_blobs(self, record: Record, now: int) -> None:
        for key in record.blobs:
            self.leave_blob(key, record.id, now)

    def leave_blob(self, key: str, user: str, now: int) -> None:
        """A blob has a user less; without any it is kept for a while."""
        blob = self.blobs.get(key)
        if blob is not None:
            blob.users.discard(user)
            if not blob.users:
                blob.expires = now + rules.milliseconds(rules.BLOB_TTL)
