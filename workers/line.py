"""A line: one connection's part in an errand. Feeds the backend, collects what became of each message, reconnects.

Leaves the conversation with the relay to the backend, and to ``deliver`` how many lines there are, and what becomes of
what they leave behind.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mailqueue.errors import LedgerUnavailable, RelayTrouble
from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import State
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply
from workers import backends
from workers.conclusion import Conclusion
from workers.evidence import Evidence
from workers.journal import Journal
from workers.retry import reconnecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.batch import Attempt, Batch
    from workers.connections import Connection
    from workers.errand import Errand
    from workers.process import Process

__all__ = ["Line"]

logger = logging.getLogger(__name__)

_NAP = 0.1  # s between two looks at what the others have left


class Line:
    """One connection at a time to the relay of ``errand``. For one thread.

    What it has in hand is what the backend was fed and has not told the end of: all of that is at its turn.

    Args:
        share: Messages that it takes over one connection before it looks whether others have left it any; None: all.
        further: Gives what is to be sent when nothing is left in the errand, if there is something.
    """

    def __init__(
        self,
        process: Process,
        batch: Batch,
        errand: Errand,
        share: int | None = None,
        further: Callable[[], Sequence[Attempt]] | None = None,
    ) -> None:
        self._process = process
        self._batch = batch
        self._errand = errand
        self._share = share
        self._further = further
        self._conclusion = Conclusion(process, batch.lane)
        self._journal = Journal(process, batch)
        self._evidence = Evidence(errand.tally)
        self._failure: Exception | None = None  # of taking further
        self._in_hand: dict[int, Attempt] = {}  # by the identity of their messages, oldest first
        #: What a connection was last lost or refused with, before it had served a message; None once one has.
        self.trouble: RelayTrouble | None = None
        # Of the connection in use:
        self._proven = False  # it has served a message, now or before
        self._unanswered: set[int] = set()  # messages that have begun, by their identity
        self._unsent: list[Attempt] = []
        self._lost: list[Attempt] = []

    def work(self) -> None:
        """Deliver what the errand has, over as many connections as it takes, until nothing waits or it must stop.

        Raises RelayTrouble when patience with the relay is at its end. Nothing is in hand after that; what was not
        sent waits in the errand again. So it is after a bug, which is raised as it is: of what had begun nobody knows.
        What taking further raises is raised when what had begun has its answers.
        """
        try:
            while len(self._errand) and not self._errand.must_stop():
                reconnecting(self._sleep, self._evidence.worth_another)(self._use_a_connection)
        except (RelayTrouble, LedgerUnavailable):
            raise  # the second only at the end of a shutdown: nothing more can be recorded
        except Exception as error:
            self._abandon(type(error).__name__)
            raise
        finally:
            self._put_back()
        if self._failure is not None:
            raise self._failure

    def _sleep(self, seconds: float) -> None:
        """Before the next connection, but no longer than others leave messages that it would be for."""
        slices = 1 if self._share is None else max(1, int(seconds / _NAP))
        for _ in range(slices):
            if not len(self._errand) or self._errand.must_stop():
                return
            self._process.sleep(seconds / slices)

    def _use_a_connection(self) -> None:
        """Deliver over one connection. Trouble after some progress is no trouble: the next connection goes on."""
        if not len(self._errand) or self._errand.must_stop():
            return
        self._evidence.connecting()
        self._proven, self._unanswered, self._unsent, self._lost = False, set(), [], []
        try:
            with self._process.connections.use(self._errand.relay) as connection:
                self._proven = connection.messages > 0
                try:
                    self._deliver(connection)
                finally:
                    self._journal.write()  # before the connection is closed, which may take its time
        except RelayTrouble as trouble:
            self._connection_lost(trouble)
        else:
            self._put_back()

    def _deliver(self, connection: Connection) -> None:
        room = connection.limits.messages - connection.messages
        room = room if self._share is None else min(room, self._share)
        for outcome in backends.deliver(connection.backend, self._feed(room), self._begin, self._journal.write):
            key = id(outcome.message)
            attempt = self._in_hand[key]
            self._unanswered.discard(key)
            if outcome.ending is Ending.UNSENT:
                self._unsent.append(attempt)
                continue
            if outcome.ending is Ending.UNKNOWN:
                if not self._lost:  # a window is lost as one: it is the connections that count
                    self._evidence.answer_lost()
                self._lost.append(attempt)
            elif not outcome.local:
                self._proven, self.trouble = True, None
                self._lost.clear()
                connection.count()
                self._evidence.answered()
                self._process.relays.answered(self._errand.relay)
            if not outcome.local:
                counted = "" if outcome.ending is Ending.PROGRESS else attempt.domain
                self._process.pace.answered(self._errand.relay, counted, outcome.results)
            self._settle(attempt, outcome)
            if not self._unanswered:
                self._journal.write()  # there is nothing that it could share a call with before the next begin

    def _feed(self, room: int) -> Iterator[Any]:
        """At most ``room`` of the messages still to be sent, until there is a reason to stop between two of them."""
        fed = 0
        while fed < room and not self._errand.must_stop():
            attempt = self._errand.take() or self._take_further()
            if attempt is None:
                return
            # One whose answer was lost before, or within which a connection broke, goes by itself: should it be what
            # relays hang up on, no other's answer is lost with it once more.
            doubtful = attempt.grant.unknowns > 0 or attempt.broken > 0
            if doubtful and fed:
                self._errand.put_back([attempt])
                return
            if self._batch.turn(attempt.id):
                self._in_hand[id(attempt.message)] = attempt
                fed += 1
                yield attempt.message
                if doubtful:
                    return

    def _take_further(self) -> Attempt | None:
        """The first of what joins the errand now that it has nothing left."""
        not_begun = len(self._in_hand) - len(self._unanswered)
        if self._further is None or not_begun > self._process.batch_messages:
            return None  # a backend that takes all it can get before it begins is not to claim the whole lane
        self._journal.write()  # it may take its time
        try:
            attempts = self._further()
        except Exception as error:  # noqa: BLE001 - raised by `work`; it costs nobody's answer
            self._failure, self._further = error, None
            return None
        for attempt in attempts:
            self._errand.put_last(attempt)
        return self._errand.take()

    # -- messages

    def _begin(self, messages: Sequence[Any]) -> list[bool]:
        """Tell the ledger that the last bytes of ``messages`` are about to go out; says which may."""
        self._journal.write()
        ids = [self._in_hand[id(message)].id for message in messages]
        ours = self._process.surely(self._process.ledger.begin, ids, self._batch.token)
        self._batch.begun(message_id for message_id, granted in zip(ids, ours, strict=True) if granted)
        for message, granted in zip(messages, ours, strict=True):
            if granted:
                self._unanswered.add(id(message))
            else:
                attempt = self._in_hand.pop(id(message))
                self._batch.ended([attempt.id])
                logger.info("action=not_sent message_id=%s reason=cancelled, held, expired or claimed anew", attempt.id)
        return ours

    def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """Note what became of a message."""
        attempt.settle(outcome.results)
        attempt.stage = outcome.reason.partition(":")[0]
        if outcome.ending is Ending.PROGRESS:
            self._journal.note(attempt, Settlement(attempt.id, State.SENDING, attempt.results))
            return
        if outcome.ending is Ending.UNKNOWN:
            settlement = Settlement(attempt.id, State.UNKNOWN, attempt.results, reason=outcome.reason)
        else:
            settlement = self._conclusion.answered(attempt)
        del self._in_hand[id(outcome.message)]
        self._journal.note(attempt, settlement)

    # -- lost connections

    def _connection_lost(self, trouble: RelayTrouble) -> None:
        """Find out whether it was over a message, and over which; raises ``trouble`` if it is the relay's."""
        over = self._unsent + self._lost
        if over and trouble.code is not None:
            self._process.pace.hung_up(self._errand.relay, over[0].domain, trouble)
        self._evidence.trouble(over[0] if len(over) == 1 else None)
        self._unbegin(self._unsent)
        # Bytes go out in order: what comes after the first one that was not written was not even tried.
        suspect = self._unsent[0] if self._unsent else None
        if suspect is not None and self._is_to_blame(suspect, trouble):
            self._charge_unsent(suspect, trouble)
            self._put_back()
            return
        self._put_back()
        if not self._proven:
            self.trouble = trouble
            raise trouble

    def _unbegin(self, attempts: Sequence[Attempt]) -> None:
        """Their last bytes were not written."""
        begun = set(self._batch.in_flight()) if attempts else set()
        ids = [attempt.id for attempt in attempts if attempt.id in begun]
        if ids:
            self._process.surely(self._process.ledger.unbegin, ids, self._batch.token)
            self._batch.unbegun(ids)

    def _is_to_blame(self, attempt: Attempt, trouble: RelayTrouble) -> bool:
        """Whether the message is why the connection was lost. If that is not clear, the others go before it."""
        first = not self._proven
        others = len(self._in_hand) + len(self._errand) > 1
        if self._evidence.unsent(attempt, trouble, first=first, others=others):
            return True
        if first:
            del self._in_hand[id(attempt.message)]
            self._batch.waits([attempt.id])
            self._errand.put_last(attempt)
        return False

    def _charge_unsent(self, attempt: Attempt, trouble: RelayTrouble) -> None:
        """An attempt that ended with lost connections alone; ``trouble`` is the last of them."""
        reply = Reply(451, "4.4.2 the connection was lost before the message was sent")
        if trouble.code is not None and 400 <= trouble.code < 500:
            reply = Reply(trouble.code, trouble.text)
        attempt.settle(dict.fromkeys(attempt.message.recipients(), Result(Verdict.DEFERRED, reply)))
        del self._in_hand[id(attempt.message)]
        self._journal.note(attempt, self._conclusion.answered(attempt))
        self._journal.write()

    def _abandon(self, error: str) -> None:
        """After a bug: of what had begun nobody knows."""
        begun = set(self._batch.in_flight())
        for key, attempt in [*self._in_hand.items()]:
            if attempt.id in begun:
                del self._in_hand[key]
                self._journal.note(attempt, Settlement(attempt.id, State.UNKNOWN, attempt.results, reason=error))
        self._journal.write()

    def _put_back(self) -> None:
        """What is in hand waits for another connection."""
        attempts = [*self._in_hand.values()]
        self._in_hand.clear()
        self._batch.waits(attempt.id for attempt in attempts)
        self._errand.put_back(attempts)
