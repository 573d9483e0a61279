"""The ledger in memory: the twin of the one in Redis, for tests and for programs that need no durability.

Safe across threads; a forked child has a copy of its own. Leaves the records to ``book``, the tick to ``recovery``.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mailqueue.errors import MessageNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.base import (
    Acceptance,
    Accepted,
    Claim,
    Entry,
    Grant,
    Ledger,
)
from mailqueue.ledger.book import ANSWERED, BEGUN, CLAIMED, LOST, Blob, Book, Record
from mailqueue.ledger.recovery import Recovery
from mailqueue.ledger.results import decode_results, encode_results
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mailqueue.ledger.base import Settlement, Submission, Ticked

__all__ = ["MemoryLedger"]

# An answer that comes when the claim is over, its fence still standing, takes the claim up again: these are the
# states that the message passes through on its way back to sending.
_LATE: Final[Mapping[State, tuple[State, ...]]] = {
    State.SENDING: (),
    State.UNKNOWN: (),
    State.QUEUED: (State.SENDING,),
    State.DEFERRED: (State.QUEUED, State.SENDING),
}
_LATE_HELD: Final = (State.DEFERRED, State.QUEUED, State.SENDING)  # held by the ledger, for want of an answer


class MemoryLedger(Ledger):
    """A ledger that lasts as long as its process.

    Args:
        clock: Seconds since the epoch.
        lease_seconds: How long a claim stands without a sign of life, in s.
        retention: How long final records are kept, in s.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, lease_seconds: float = 30.0, retention: float = 604800.0
    ) -> None:
        self._clock = clock
        self._lease = rules.milliseconds(lease_seconds)
        self._book = Book(self._lease, rules.milliseconds(retention))
        self._recovery = Recovery(self._book)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<MemoryLedger of {len(self._book.records)} messages>"

    @contextmanager
    def _call(self) -> Iterator[int]:
        """One operation, undisturbed by others; gives its time."""
        with self._lock:
            yield rules.milliseconds(self._clock())

    # -- producer

    def accept(self, lane: str, submissions: Sequence[Submission], *, restored: bool = False) -> Acceptance:
        with self._call() as now:
            book = self._book
            fresh: dict[str, Submission] = {}
            answers: list[Accepted] = []
            for each in submissions:
                known = book.load(each.id, now)
                if known:
                    answers.append(Accepted(each.id, known.state, known.accepted / 1000, new=False))
                else:
                    answers.append(Accepted(each.id, State.QUEUED, now / 1000, new=each.id not in fresh))
                    fresh.setdefault(each.id, each)
            wanted = dict.fromkeys(key for each in fresh.values() for key in each.blobs)
            lacking = tuple(key for key in wanted if book.blob(key, now) is None)
            if lacking:
                return Acceptance(0, (), lacking)
            if not fresh:
                return Acceptance(0, tuple(answers))
            number = self._book.marks(lane).next_number()
            for each in fresh.values():
                hold = each.on_unknown == "hold"
                book.add(Record(each.id, lane, each.relay, hold, each.blobs, each.envelope, now, now), number)
            if restored:
                book.events["restored"] += len(fresh)
            return Acceptance(number, tuple(answers))

    def unpublished(self, ids: Sequence[str], *, due_in: float = 2.0) -> None:
        with self._call() as now:
            for message_id in ids:
                record = self._book.load(message_id, now)
                if record and record.state is State.QUEUED:
                    self._book.events["unpublished"] += 1
                    self._book.defer(record, now + rules.milliseconds(due_in), rules.REASON_UNPUBLISHED, now)

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        with self._call() as now:
            for key, content in blobs.items():
                users = self._book.blobs[key].users if key in self._book.blobs else set[str]()
                expires = None if users else now + rules.milliseconds(rules.BLOB_TTL)
                self._book.blobs[key] = Blob(content, users, expires)

    def get_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        with self._call() as now:
            found = {key: self._book.blob(key, now) for key in hashes}
            return {key: blob.content for key, blob in found.items() if blob is not None}

    # -- worker

    def claim(
        self, lane: str, ids: Sequence[str], *, token: str, owner: str, number: int = 0, alone: bool = False
    ) -> Claim:
        ids = list(dict.fromkeys(ids))
        alone = alone and len(ids) == 1
        granted: list[Grant] = []
        refused: dict[str, str] = {}
        missing: list[str] = []
        with self._call() as now:
            if self._book.marks(lane).advance(now, number):
                self._book.events["rolled_back"] += 1
            for message_id in ids:
                record = self._book.load(message_id, now)
                if record is None:
                    missing.append(message_id)
                elif record.state is State.SENDING and record.fence == token:
                    self._renew(record, now)
                    granted.append(_grant(record))
                elif record.state is not State.QUEUED:
                    refused[message_id] = record.state
                elif record.crashes and not alone:
                    self._book.events["alone"] += 1
                    self._book.defer(record, now, rules.REASON_ALONE, now)
                    refused[message_id] = "alone"
                else:
                    self._book.move(record, State.SENDING, now + self._lease, now)
                    record.fence, record.owner, record.phase, record.alone = token, owner, CLAIMED, alone
                    granted.append(_grant(record))
        return Claim(tuple(granted), refused, tuple(missing))

    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        with self._call() as now:
            answers = []
            for message_id in ids:
                record = self._claimed(message_id, token, now)
                if record:
                    record.phase = BEGUN
                    self._renew(record, now)
                else:
                    self._book.events["fenced"] += 1
                answers.append(record is not None)
            return answers

    def unbegin(self, ids: Sequence[str], token: str) -> None:
        with self._call() as now:
            for message_id in ids:
                record = self._book.load(message_id, now)
                if record is None or record.fence != token:
                    continue
                if record.state is State.SENDING:
                    record.phase = CLAIMED
                elif record.phase == LOST and record.state in {State.UNKNOWN, State.HELD}:
                    # The lease ended before this was told: it rests for want of an answer that is known now.
                    self._book.events["late"] += 1
                    record.phase = CLAIMED
                    self._book.defer(record, now, rules.REASON_NOT_WRITTEN, now)

    def renew(self, ids: Sequence[str], token: str) -> list[bool]:
        with self._call() as now:
            answers = []
            for message_id in ids:
                record = self._claimed(message_id, token, now)
                if record:
                    self._renew(record, now)
                answers.append(record is not None)
            return answers

    def record(self, settlements: Sequence[Settlement], token: str) -> list[bool]:
        rules.settleable(settlements)
        with self._call() as now:
            answers = []
            for each in settlements:
                record = self._book.load(each.id, now)
                ours = record is not None and record.fence == token
                if record is None or not ours:
                    self._book.events["fenced"] += 1
                elif record.phase != ANSWERED:
                    self._settle(record, each, now)
                answers.append(ours)
            return answers

    def release(self, ids: Sequence[str], token: str, *, due_in: float = 0.0, reason: str = "") -> None:
        with self._call() as now:
            for message_id in ids:
                record = self._claimed(message_id, token, now)
                if record and record.phase == CLAIMED:
                    due = now + max(0, rules.milliseconds(due_in))
                    self._book.defer(record, due, rules.short(reason), now)

    def owners(self, prefix: str) -> list[str]:
        with self._call():
            owners = {record.owner for record in self._book.records.values() if record.state is State.SENDING}
            return sorted(owner for owner in owners if owner.startswith(prefix))

    def free(self, owner: str) -> int:
        with self._call() as now:
            claims = [
                record
                for record in self._book.records.values()
                if record.state is State.SENDING and record.owner == owner
            ]
            for record in claims:
                self._book.crash(record, now)
            return len(claims)

    def tick(self, limit: int = 500) -> Ticked:
        with self._call() as now:
            return self._recovery.tick(now, limit)

    # -- operator

    def get(self, message_id: str) -> Entry:
        with self._call() as now:
            record = self._book.load(message_id, now)
            if record is None:
                raise MessageNotFound(message_id)
            due = self._book.score(f"due:{record.lane}", message_id)
            return Entry(
                id=message_id,
                state=record.state,
                lane=record.lane,
                relay=record.relay,
                attempts=record.attempts,
                crashes=record.crashes,
                unknowns=record.unknowns,
                accepted_at=record.accepted / 1000,
                updated_at=record.updated / 1000,
                due_at=None if due is None else due / 1000,
                reason=record.reason,
                results=decode_results(record.results),
                envelope=record.envelope,
            )

    def list(self, state: State, *, limit: int = 100) -> list[str]:
        rules.listable(state)
        limit = max(0, limit)
        with self._call():
            index = self._book.index_of(state, "")
            if state not in {State.QUEUED, State.DEFERRED}:
                assert index, "every other state that is listable has an index"
                return self._book.first(index, limit)
            listed = [record for record in self._book.records.values() if record.state is state]
            return [record.id for record in sorted(listed, key=self._age)[:limit]]

    def counts(self) -> dict[str, dict[str, int]]:
        with self._call():
            answer: dict[str, dict[str, int]] = {}
            for (lane, state), number in sorted(self._book.counts.items()):
                if number:
                    answer.setdefault(lane, {})[str(state)] = number
            return answer

    def counters(self) -> dict[str, int]:
        with self._call():
            return dict.fromkeys(rules.EVENTS, 0) | dict(self._book.events)

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to close: the ledger stays for the others in this process."""

    # -- the parts of operations

    def _age(self, record: Record) -> tuple[int, str]:
        """Sorts messages of all lanes: by due time, or by the time since when each is queued."""
        due = self._book.score(f"due:{record.lane}", record.id)
        return (record.updated if due is None else due, record.id)

    def _claimed(self, message_id: str, token: str, now: int) -> Record | None:
        """The record, if it is claimed under ``token``."""
        record = self._book.load(message_id, now)
        return record if record and record.state is State.SENDING and record.fence == token else None

    def _renew(self, record: Record, now: int) -> None:
        self._book.enter("leased", record.id, now + self._lease)

    def _settle(self, record: Record, settlement: Settlement, now: int) -> None:
        book, state, reason = self._book, settlement.state, rules.short(settlement.reason)
        via = _LATE_HELD if record.state is State.HELD and record.phase == LOST else _LATE.get(record.state)
        if record.state is not State.SENDING:
            book.events["late"] += 1
        charged = record.phase == LOST
        if state is State.UNKNOWN and charged and via is not None:
            return
        if settlement.results:
            record.results = encode_results(settlement.results)
        if state is State.SENDING or via is None:
            # An attempt that goes on; or a message beyond settling, for which what is known is kept for operators.
            if record.state is State.SENDING:
                record.phase = CLAIMED
                self._renew(record, now)
            return
        due_in = max(0, rules.milliseconds(settlement.due_in))
        if state is State.UNKNOWN:
            book.lose_answer(record, reason, now, wait=due_in, via=via)
            return
        record.phase = ANSWERED
        record.attempts += state is not State.HELD and not charged
        if state is State.DEFERRED:
            direct = record.state in {State.UNKNOWN, State.HELD}
            book.defer(record, now + due_in, reason, now, via=() if direct else via)
            return
        record.reason = reason
        book.move(record, state, now, now, via=via)
        book.settled(record, now)


def _grant(record: Record) -> Grant:
    return Grant(
        record.id, record.attempts + 1, record.accepted / 1000, decode_results(record.results), record.crashes > 0
    )
