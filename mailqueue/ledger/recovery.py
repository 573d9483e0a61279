"""One tick of the in-memory ledger: what expired, was lost, or fell due. The twin of ``lua/tick.lua``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.ledger import rules
from mailqueue.ledger.base import Publication, Ticked
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.ledger.book import Book, Record

__all__ = ["Recovery"]

_TICK_GAP: Final = rules.milliseconds(rules.TICK_GAP)
_TICK_GAP_MORE: Final = rules.milliseconds(rules.TICK_GAP_MORE)
_OUTAGE: Final = rules.milliseconds(rules.OUTAGE)


@dataclass(slots=True)
class _Task:
    """A publication that is being filled."""

    lane: str
    number: int
    alone: bool
    octets: int = 0
    items: list[tuple[str, bytes]] = field(default_factory=list)

    def has_room(self, octets: int) -> bool:
        return len(self.items) < rules.PACK_MESSAGES and self.octets + octets <= rules.PACK_BYTES


class Recovery:
    """The ticks on one book. Times are milliseconds."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._last = 0  # when a tick was last answered in full
        self._gap = 0  # between that one and the one before
        self._calm = 0  # until then no lease expires
        self._more = False  # that tick has met a limit: the next one follows soon

    def tick(self, now: int, limit: int, *, hurry: bool = True) -> Ticked | None:
        """One bounded pass; None if the last one was just now. ``hurry``: with what it has to leave for the next."""
        if self._last <= now < self._last + (_TICK_GAP_MORE if self._more else _TICK_GAP):
            return None
        self._more = False
        found: Counter[str] = Counter()
        outage = self._note_tick(now, found)
        self._end_leases(now, limit, found)
        publications: list[Publication] = []
        self._expire(now, limit, found)
        for lane in self._book.lanes_in_use():
            publications += self._recover_lane(lane, now, limit, found, outage=outage)
        for lane in self._book.lanes_in_use():
            publications += self._publish_due(lane, now, limit, found)
        self._sweep(now, limit, found)
        self._more = self._more and hurry
        return Ticked(tuple(publications), dict(found))

    def _note(self, found: Counter[str], name: str) -> None:
        self._book.events[name] += 1
        found[name] += 1

    def _listed(self, index: str, limit: int, highest: int) -> Iterator[Record]:
        ids = self._book.first(index, limit, highest=highest)
        self._more = self._more or len(ids) >= limit
        for message_id in ids:
            yield self._book.records[message_id]

    def _note_tick(self, now: int, found: Counter[str]) -> bool:
        """Whether nobody has ticked for so long that workers were probably cut off, and could not renew leases.

        A fleet that always ticks that seldom is no outage: its leases must end some time.
        """
        outage = self._last > now or now - self._last > max(_OUTAGE, min(2 * self._gap, self._book.lease))
        if outage:
            self._calm = now + self._book.lease
            if self._last:
                self._note(found, "outages")
        self._gap = max(0, now - self._last) if self._last else 0
        self._last = now
        return outage

    def _end_leases(self, now: int, limit: int, found: Counter[str]) -> None:
        if self._calm > now:
            # Leases that end later than one from now were given before the clock was set back.
            self._book.lower("leased", now + self._book.lease, limit)
            return
        for record in self._listed("leased", limit, now):
            self._note(found, "expired_leases")
            self._book.crash(record, now)

    def _expire(self, now: int, limit: int, found: Counter[str]) -> None:
        for record in self._listed("expiring", limit, now):
            if self._book.expirable(record, now):
                found["expired"] += 1
                self._book.expire(record, now)
            else:
                self._book.leave("expiring", record.id)

    def _recover_lane(self, lane: str, now: int, limit: int, found: Counter[str], *, outage: bool) -> list[Publication]:
        """Defer what was lost; a barrier where nothing moves."""
        marks = self._book.marks(lane)
        marks.advance(now, restart=outage)
        for record in self._listed(f"queued:{lane}", limit, marks.older):
            self._note(found, "lost")
            self._book.defer(record, now, rules.REASON_LOST, now)
        if not marks.wants_barrier(now, queued=self._book.queued(lane) > 0):
            return []
        self._note(found, "barriers")
        return [Publication(lane, marks.next_number())]

    def _publish_due(self, lane: str, now: int, limit: int, found: Counter[str]) -> list[Publication]:
        """The one door: what is due is queued under new numbers. Messages share a task, suspects go alone.

        Each lane has its own share of the tick for what was scheduled and for what was deferred, so that a retry does
        not wait behind thousands that are not its like.
        """
        tasks: list[_Task] = []
        filling: _Task | None = None
        for state in (State.SCHEDULED, State.DEFERRED):
            for record, envelope in self._due(state, lane, now, limit, found):
                suspect = record.crashes > 0
                task = filling
                if suspect or task is None or not task.has_room(len(envelope)):
                    task = _Task(lane, self._book.marks(lane).next_number(), suspect)
                    tasks.append(task)
                    filling = filling if suspect else task
                task.items.append((record.id, envelope))
                task.octets += len(envelope)
                self._book.move(record, State.QUEUED, task.number, now)
                found["due"] += 1
        return [Publication(task.lane, task.number, tuple(task.items), task.alone) for task in tasks]

    def _due(
        self, state: State, lane: str, now: int, limit: int, found: Counter[str]
    ) -> Iterator[tuple[Record, bytes]]:
        """What is to be published of a lane's messages in ``state``, within its share."""
        index = self._book.index_of(state, lane)
        assert index
        total = 0
        for record in self._listed(index, limit, now):
            if record.is_late(now):
                found["expired"] += 1
                self._book.expire(record, now)
                continue
            envelope = record.envelope
            assert envelope is not None, "only sent, cancelled and expired messages are without"
            total += len(envelope)
            if total > max(rules.TICK_BYTES, len(envelope)):
                self._more = True
                return  # the rest is due at the next tick as well
            yield record, envelope

    def _sweep(self, now: int, limit: int, found: Counter[str]) -> None:
        """Forget what was kept for operators until its retention ended."""
        for index in ("failed", "partial"):
            for record in self._listed(index, limit, now - self._book.retention):
                self._note(found, "swept")
                self._book.sweep(record, now)
