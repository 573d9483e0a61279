"""What operators do to messages of the in-memory ledger by hand. The twin of ``lua/hands.lua`` and of its users.

Leaves the lock and the clock to ``memory``. Times are milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailqueue.errors import IllegalTransition, MessageNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.book import ANSWERED, BEGUN, LOST
from mailqueue.ledger.results import decode_results, encode_results
from mailqueue.ledger.states import FINAL, State
from mailqueue.outcome import Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mailqueue.ledger.book import Book, Record

__all__ = ["Hands"]


class Hands:
    """The operators' calls on one book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def cancel(self, ids: Iterable[str], now: int) -> list[str]:
        """Withdraw messages."""

        def act(record: Record) -> str:
            if record.state is State.CANCELLED:
                return "cancelled"
            if record.state in FINAL:
                return "late"
            if record.state is State.UNKNOWN or _is_begun(record):
                record.asked = State.CANCELLED
                return "cancelling"
            record.reason = rules.REASON_CANCELLED
            via = (State.DEFERRED,) if record.state is State.SENDING else ()
            self._book.move(record, State.CANCELLED, now, now, via=via)
            return "cancelled"

        return self._for_each(ids, now, act, over="late", already="cancelled")

    def hold(self, ids: Iterable[str], reason: str, now: int) -> list[str]:
        """Park messages."""

        def act(record: Record) -> str:
            if record.state is State.HELD:
                self._take_out(record, reason)
                return "held"
            if record.state in FINAL:
                return "late"
            if record.asked is State.CANCELLED:
                return "cancelling"
            if _is_begun(record):
                record.asked, record.asked_reason = State.HELD, reason
                return "holding"
            record.reason = reason
            self._book.move(record, State.HELD, now, now)
            return "held"

        return self._for_each(ids, now, act, over="late")

    def unhold(self, ids: Iterable[str], now: int) -> list[str]:
        """Let held messages go, not before their send_at."""

        def act(record: Record) -> str:
            if record.asked is State.HELD:
                record.asked = None
                return str(record.state)
            if record.state is not State.HELD:
                return "refused"
            record.since = max(now, record.since)
            self._book.defer(record, record.since, rules.REASON_UNHELD, now)
            return "deferred"

        return self._for_each(ids, now, act, over="refused")

    def requeue(self, ids: Iterable[str], now: int) -> list[str]:
        """Send failed and partial messages again, to those who were refused."""

        def act(record: Record) -> str:
            if record.state not in {State.FAILED, State.PARTIAL} or self._book.campaigns.of(record):
                return "refused"  # a campaign takes up those who failed by itself, with their data
            self._book.events["requeued"] += 1
            record.attempts = record.crashes = record.alone_crashes = 0
            record.since = now
            record.results = _reopened(record.results)
            self._book.defer(record, now, rules.REASON_REQUEUED, now)
            return "deferred"

        return self._for_each(ids, now, act, over="refused")

    def resolve(
        self, message_id: str, state: State, reason: str, results: Mapping[str, Result] | None, now: int
    ) -> State:
        """Settle a message whose answer was lost."""
        record = self._book.find(message_id, now)
        if record is None:
            final = self._book.campaigns.final(message_id)
            if final:
                raise _settled(final[0], state)
            raise MessageNotFound(message_id)
        held = record.state is State.HELD and record.phase == LOST  # by the ledger, for want of an answer
        if state is record.state or not (held or record.state is State.UNKNOWN):
            raise _settled(record.state, state)
        self._book.events["resolved"] += 1
        if results:
            record.results = encode_results(results)
        if state is State.DEFERRED or (state is State.HELD and record.asked):
            record.since = now
            self._book.defer(record, now, reason, now)
            return record.state
        if state is not State.HELD:
            record.phase = ANSWERED
        record.reason = reason
        via = (State.DEFERRED, State.QUEUED, State.SENDING) if held else ()
        self._book.move(record, state, now, now, via=via)
        return record.state

    def _take_out(self, record: Record, reason: str) -> None:
        """One that its campaign has parked is held by hand from now on, and is not let go with the campaign."""
        campaign = self._book.campaigns.of(record)
        if campaign and self._book.score(campaign.parked, record.id) is not None:
            self._book.leave(campaign.parked, record.id)
            record.reason = reason

    def _for_each(
        self, ids: Iterable[str], now: int, act: Callable[[Record], str], *, over: str, already: str = ""
    ) -> list[str]:
        """``over`` is the word for a campaign's message that has ended, its record gone.

        Unless it is ``already`` in the state that it was to have.
        """
        words = []
        for message_id in ids:
            record = self._book.find(message_id, now)
            final = None if record else self._book.campaigns.final(message_id)
            if record:
                words.append(act(record))
            elif final:
                words.append(already if final[0] == already else over)
            else:
                words.append("missing")
        return words


def _settled(state: State, wanted: State) -> IllegalTransition:
    return IllegalTransition(f"a message that is {state} waits for no answer to be resolved as {wanted}")


def _is_begun(record: Record) -> bool:
    return record.state is State.SENDING and record.phase == BEGUN


def _reopened(results: bytes) -> bytes:
    """The refused are deferred now, as if they had been refused for a while."""
    return encode_results(
        {
            recipient: Result(Verdict.DEFERRED, result.reply) if result.verdict is Verdict.REFUSED else result
            for recipient, result in decode_results(results).items()
        }
    )
