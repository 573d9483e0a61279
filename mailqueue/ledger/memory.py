"""The ledger in memory: the twin of the one in Redis, for tests and for programs that need no durability.

Safe across threads; a forked child has a copy of its own. Leaves the records to ``book``, what comes in to
``intake``, the tick to ``recovery``, what operators do to ``hands``, and relays in trouble to ``relaybook``.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mailqueue.errors import MessageNotFound
from mailqueue.ledger import intake, rules
from mailqueue.ledger.base import (
    Checkup,
    Claim,
    Entry,
    Grant,
    Ledger,
    Ticked,
    final_entry,
)
from mailqueue.ledger.book import ANSWERED, BEGUN, CLAIMED, LOST, Blob, Book, Record
from mailqueue.ledger.hands import Hands
from mailqueue.ledger.memory_campaigns import MemoryCampaigns
from mailqueue.ledger.memory_rates import MemoryRates
from mailqueue.ledger.memory_schedules import MemorySchedules
from mailqueue.ledger.memory_suppressions import MemorySuppressions
from mailqueue.ledger.recovery import Recovery
from mailqueue.ledger.relaybook import RelayBook
from mailqueue.ledger.results import decode_results, encode_results
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mailqueue.ledger.base import Acceptance, Draft, RelayMark, Setback, Settlement, Submission
    from mailqueue.ledger.campaigns import Campaigns
    from mailqueue.ledger.schedules import Schedules
    from mailqueue.outcome import Result

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
        self._hands = Hands(self._book)
        self._relays = RelayBook(self._lease, self._book.retention)
        self._lock = threading.RLock()
        self._campaigns = MemoryCampaigns(self._book, self._call)
        self._schedules = MemorySchedules(self._call, self._lease)
        self.suppressions = MemorySuppressions(self._call)
        self._rates = MemoryRates(self._call)

    def __repr__(self) -> str:
        return f"<MemoryLedger of {len(self._book.records)} messages>"

    def now(self) -> float:
        """The time that it goes by, s since the epoch."""
        return self._clock()

    @contextmanager
    def _call(self) -> Iterator[int]:
        """One operation, undisturbed by others; gives its time."""
        with self._lock:
            yield rules.milliseconds(self._clock())

    # -- producer

    def accept(
        self,
        lane: str,
        submissions: Sequence[Submission],
        *,
        restored: bool = False,
        replayed: bool = False,
        draft: Draft | None = None,  # noqa: ARG002 - there is no broker in here
    ) -> Acceptance:
        with self._call() as now:
            return intake.accept(self._book, lane, submissions, now, restored=restored, replayed=replayed)

    def durable(self, timeout: float) -> None:
        """Nothing to wait for: what is in memory is as durable as it gets."""

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
        rules.nameable(owner)
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
                    self._claim_without_record(message_id, refused, missing)
                elif record.state is State.SENDING and record.fence == token:
                    self._renew(record, now)
                    granted.append(_grant(record))
                elif record.state is not State.QUEUED:
                    refused[message_id] = record.state
                elif record.is_late(now):
                    self._book.expire(record, now)
                    refused[message_id] = record.state
                elif self._stopped(record, now):
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

    def _claim_without_record(self, message_id: str, refused: dict[str, str], missing: list[str]) -> None:
        final = self._book.campaigns.final(message_id)
        if final:
            refused[message_id] = final[0]
        else:
            missing.append(message_id)

    def _stopped(self, record: Record, now: int) -> bool:
        """Whether its campaign does not let it go out now; then it is where it belongs."""
        campaign = self._book.campaigns.of(record)
        state = campaign.stop(now) if campaign else None
        if state:
            self._book.stop(record, state, now)
        return state is not None

    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        with self._call() as now:
            answers = []
            for message_id in ids:
                record = self._claimed(message_id, token, now)
                if record is None:
                    self._book.events["fenced"] += not self._is_stopped(message_id, token, now)
                elif record.is_late(now):
                    self._book.expire(record, now)
                elif not self._stopped(record, now):
                    record.phase = BEGUN
                    self._renew(record, now)
                answers.append(record is not None and record.state is State.SENDING)
            return answers

    def _is_stopped(self, message_id: str, token: str, now: int) -> bool:
        """Whether it was stopped while it was claimed: that is no fence's doing."""
        record = self._book.load(message_id, now)
        if record is None or record.fence != token or record.phase != CLAIMED:
            return False
        return record.state in {State.CANCELLED, State.HELD, State.EXPIRED}

    def unbegin(self, ids: Sequence[str], token: str) -> None:
        with self._call() as now:
            for message_id in ids:
                record = self._book.load(message_id, now)
                if record is None or record.fence != token:
                    continue
                if record.state is State.SENDING:
                    record.phase = CLAIMED
                    if record.asked:
                        self._book.defer(record, now, "", now)
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
                ours = record.fence == token if record else self._book.campaigns.final(each.id) is not None
                if not ours:
                    self._book.events["fenced"] += 1
                elif record and record.phase != ANSWERED:
                    self._settle(record, each, now)
                answers.append(ours)
            return answers

    def release(self, ids: Sequence[str], token: str, *, due_in: float = 0.0, reason: str = "") -> None:
        with self._call() as now:
            for message_id in ids:
                record = self._claimed(message_id, token, now)
                if record and record.phase == CLAIMED:
                    due = now + rules.ahead(due_in)
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
            # While a relay is left alone, what is due waits for it as a rule, and is only looked at.
            ticked = self._recovery.tick(now, limit, hurry=not self._relays.is_any_down(now))
            if ticked is not None:
                self._campaigns.sweep_some(rules.SWEEP_NAMES, now)
            return ticked or Ticked()

    # -- operator

    def cancel(self, ids: Sequence[str]) -> list[str]:
        with self._call() as now:
            return self._hands.cancel(ids, now)

    def hold(self, ids: Sequence[str], reason: str = "") -> list[str]:
        with self._call() as now:
            return self._hands.hold(ids, rules.short(reason), now)

    def unhold(self, ids: Sequence[str]) -> list[str]:
        with self._call() as now:
            return self._hands.unhold(ids, now)

    def requeue(self, ids: Sequence[str]) -> list[str]:
        with self._call() as now:
            return self._hands.requeue(ids, now)

    def resolve(
        self, message_id: str, state: State, *, reason: str = "", results: Mapping[str, Result] | None = None
    ) -> State:
        rules.resolvable(state)
        with self._call() as now:
            return self._hands.resolve(message_id, state, rules.short(reason), results, now)

    def get(self, message_id: str) -> Entry:
        with self._call() as now:
            record = self._book.find(message_id, now)
            if record is None:
                return self._final_entry(message_id)
            index = self._book.index_of(record.state, record.lane)
            waits = record.state in {State.SCHEDULED, State.DEFERRED}
            due = self._book.score(index, record.id) if waits and index else None
            return Entry(
                id=record.id,
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
                expires_at=record.deadline / 1000 or None,
                key=record.key,
                asked=record.asked,
            )

    def _final_entry(self, message_id: str) -> Entry:
        """Of a campaign's message whose own record is gone."""
        final = self._book.campaigns.final(message_id)
        if final is None:
            raise MessageNotFound(message_id)
        return final_entry(message_id, *final[:2], lane=final[2].lane)

    def list(
        self, state: State, *, lane: str | None = None, relay: str | None = None, after: str = "", limit: int = 100
    ) -> list[str]:
        rules.listable(state)
        with self._call():
            ids = [
                record.id
                for record in sorted(self._in_state(state), key=self._age)
                if (lane in {None, record.lane} and relay in {None, record.relay}) or record.id == after
            ]
            ids = ids[ids.index(after) + 1 :] if after in ids else ids
            return ids[: max(0, limit)]

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

    # -- relays

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
        first, most = rules.milliseconds(delay), rules.milliseconds(longest)
        with self._call() as now:
            return self._relays.trouble(relay, owner, first, most, latch, over, rules.short(reason), now)

    def relay_probe(self, relay: str, owner: str, *, fingerprint: str = "") -> float:
        with self._call() as now:
            return self._relays.probe(relay, owner, fingerprint, now)

    def relay_recovered(self, relay: str, *, by_hand: bool = False) -> bool:
        with self._call() as now:
            return self._relays.recovered(relay, now, by_hand=by_hand)

    def relay_states(self) -> Mapping[str, RelayMark]:
        with self._call() as now:
            return self._relays.states(now)

    # -- beside the messages

    @property
    def campaigns(self) -> Campaigns:
        return self._campaigns

    @property
    def schedules(self) -> Schedules:
        return self._schedules

    @property
    def rates(self) -> MemoryRates:
        return self._rates

    # -- the store

    def check(self, *, durable: bool = False) -> Checkup:  # noqa: ARG002 - memory is as durable as it gets
        return Checkup(warnings=("the ledger is in the memory of this process: mail in it ends with the process",))

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to close: the ledger stays for the others in this process."""

    # -- the parts of operations

    def _in_state(self, state: State) -> Iterator[Record]:
        """The messages that a list has: not those of campaigns that have ended, of which only the campaign tells."""
        return (record for record in self._book.records.values() if record.state is state and record.ends is None)

    def _age(self, record: Record) -> tuple[int, str, int, str]:
        """Sorts messages of one state: by their index; but queued ones, whose numbers do not compare, by lane."""
        index = self._book.index_of(record.state, record.lane)
        score = self._book.score(index, record.id) if index else None
        assert score is not None, "every state that is listable has an index"
        by_lane = record.state in {State.SCHEDULED, State.QUEUED, State.DEFERRED}
        return (0 if record.state is State.QUEUED else score, record.lane if by_lane else "", score, record.id)

    def _claimed(self, message_id: str, token: str, now: int) -> Record | None:
        """The record, if it is claimed under ``token``."""
        record = self._book.load(message_id, now)
        return record if record and record.state is State.SENDING and record.fence == token else None

    def _renew(self, record: Record, now: int) -> None:
        self._book.enter("leased", record.id, now + self._lease)

    def _settle(self, record: Record, settlement: Settlement, now: int) -> None:
        book, state, reason = self._book, settlement.state, rules.reason_of(settlement)
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
                if record.asked:
                    book.defer(record, now, "", now)
            return
        due_in = rules.ahead(settlement.due_in)
        if state is State.UNKNOWN:
            book.lose_answer(record, reason, now, wait=due_in, via=via)
            return
        record.phase = ANSWERED
        record.attempts += state not in {State.HELD, State.CANCELLED} and not charged
        if state is State.DEFERRED:
            direct = record.state in {State.UNKNOWN, State.HELD}
            book.defer(record, now + due_in, reason, now, via=() if direct else via)
            return
        record.reason = reason
        book.move(record, state, now, now, via=(*via, State.DEFERRED) if state is State.CANCELLED else via)


def _grant(record: Record) -> Grant:
    return Grant(
        record.id,
        record.attempts + 1,
        record.since / 1000,
        decode_results(record.results),
        suspect=record.crashes > 0,
        unknowns=record.unknowns,
    )
