"""Delivers a claimed batch: relay by relay over the long-lived connections, each outcome recorded as it is known.

Leaves claiming to ``drain`` and the conversation with the relay to the backend.
"""

from __future__ import annotations

import logging
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable, RelayTrouble
from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import State
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply
from workers import backends
from workers.evidence import Evidence
from workers.retry import reconnecting, until_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from workers.batch import Attempt, Batch
    from workers.process import Process

__all__ = ["LATER", "Delivery", "state_of", "where"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

LATER = 60.0  # s, for what a deploy may mend: a relay that this worker cannot build, a bug
LOOK_UP_EVERY = 0.05  # s between looks for mail in a higher lane: far below what a person notices
LOOK_AGAIN = 5.0  # s after a look that failed: each may take seconds that are the mail's


def state_of(results: Mapping[str, Result]) -> State:
    """The final state that complete results give; DEFERRED while a recipient is deferred."""
    verdicts = {result.verdict for result in results.values()}
    if Verdict.DEFERRED in verdicts:
        return State.DEFERRED
    if Verdict.REFUSED not in verdicts:
        return State.SENT
    return State.PARTIAL if Verdict.ACCEPTED in verdicts else State.FAILED


def where(error: Exception) -> str:
    """What a bug is and where it came up, on one line. Its text may repeat an address, and is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    return " ".join([type(error).__name__, *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)])


class Delivery:
    """One run, or several, over the attempts of a batch. What it has not begun when it must stop is given back at no charge."""

    def __init__(self, process: Process, batch: Batch) -> None:
        self._process = process
        self._batch = batch
        self._higher = self._lanes_above(batch.lane)
        self._looked_at = time.monotonic()
        self._stopped = False
        self._evidence: dict[str, Evidence] = {}

    def run(self, attempts: Sequence[Attempt]) -> None:
        """Deliver ``attempts``; returns when each is recorded or given back."""
        relays: dict[str, dict[int, Attempt]] = {}
        for attempt in attempts:
            if attempt.message.recipients():
                relays.setdefault(attempt.relay, {})[id(attempt.message)] = attempt
            else:  # a late answer of an earlier attempt has served them all meanwhile
                self._record(attempt, self._answered(attempt))
                self._batch.ended([attempt.id])
        for relay, pending in relays.items():
            wait = self._surely(self._process.relays.wait, relay)
            if wait > 0:
                self._give_back(pending, wait, "the relay is in trouble")
            elif not self._stopped:
                self._deliver_all(relay, pending)
            self._process.relays.leave(relay)
            self._give_back(pending, 0.0, "")

    # -- one relay

    def _deliver_all(self, relay: str, pending: dict[int, Attempt]) -> None:
        """Deliver over as many connections as it takes, unless the relay is in trouble."""
        evidence = self._evidence.setdefault(relay, Evidence())
        try:
            while pending and not self._stopped:
                reconnecting(self._process.sleep, evidence.worth_another)(self._deliver_some, relay, pending, evidence)
        except RelayTrouble as trouble:
            wait = self._surely(self._process.relays.troubled, relay, trouble, evidence.over)
            self._give_back(pending, wait, f"relay trouble at {trouble.stage}")
        except ImproperlyConfigured as error:
            logger.error("action=relay_misconfigured relay=%s reason=%s", relay or "default", error)  # noqa: TRY400 - no traceback wanted
            self._give_back(pending, LATER, "this worker's settings cannot build the relay's backend")
        except LedgerUnavailable:
            raise  # only at the end of a shutdown: nothing more can be recorded
        except Exception as error:  # the boundary of a task: a bug, ours or a backend's, costs no message its record
            logger.error("action=delivery_failed relay=%s reason=%s", relay or "default", where(error))  # noqa: TRY400 - as where says
            logger.debug("action=delivery_failed relay=%s", relay or "default", exc_info=True)
            self._abandon(pending, type(error).__name__)

    def _deliver_some(self, relay: str, pending: dict[int, Attempt], evidence: Evidence) -> None:
        """Deliver over one connection. Trouble after some progress is no trouble: the next connection goes on."""
        evidence.connecting()
        proven = False  # it has served a message, now or before
        unsent: Attempt | None = None
        lost: Attempt | None = None
        try:
            with self._process.connections.use(relay) as connection:
                proven = connection.messages > 0
                feed = self._feed(pending)
                for outcome in backends.deliver(connection.backend, feed, lambda m: self._begin(m, pending)):
                    attempt = pending[id(outcome.message)]
                    if outcome.ending is Ending.UNSENT:
                        unsent = attempt
                        self._unbegin(attempt)
                        continue
                    if outcome.ending is Ending.UNKNOWN:
                        lost = attempt
                        evidence.answer_lost()
                    elif not outcome.local:
                        proven = True
                        connection.count()
                        evidence.answered()
                        self._process.relays.answered(relay)
                    self._settle(attempt, outcome, pending)
        except RelayTrouble as trouble:
            evidence.trouble(unsent or lost)
            if unsent is not None and self._is_to_blame(unsent, trouble, pending, evidence, first=not proven):
                self._charge_unsent(unsent, trouble, pending)
            elif not proven:
                raise

    def _is_to_blame(
        self, attempt: Attempt, trouble: RelayTrouble, pending: dict[int, Attempt], evidence: Evidence, *, first: bool
    ) -> bool:
        """Whether the message is why the connection was lost. If that is not clear, the others go before it."""
        if evidence.unsent(attempt, trouble, first=first, others=len(pending) > 1):
            return True
        if first:
            pending[id(attempt.message)] = pending.pop(id(attempt.message))
        return False

    def _feed(self, pending: dict[int, Attempt]) -> Iterator[Any]:
        """The messages still to be sent, until there is a reason to stop between two of them."""
        for key, attempt in list(pending.items()):
            if self.must_stop():
                self._stopped = True
                return
            if not self._batch.holds(attempt.id):
                del pending[key]
                continue
            self._batch.turn(attempt.id)
            yield attempt.message
        # Every message was offered once; what is left over is waiting for another connection.

    def must_stop(self) -> bool:
        """A shutdown, or mail in a higher lane that this worker carries as well."""
        if self._stopped or self._process.stopping:
            return True
        now = time.monotonic()
        if not self._higher or now - self._looked_at < LOOK_UP_EVERY:
            return False
        self._looked_at = now
        return self._mail_above()

    def _mail_above(self) -> bool:
        try:
            return self._process.tap().waiting(self._higher)
        except Exception as error:  # noqa: BLE001 - any broker's errors; urgent mail is no reason to lose this batch
            logger.warning("action=look_up_failed reason=%s", type(error).__name__)
            self._process.drop_tap()
            self._looked_at = time.monotonic() + LOOK_AGAIN
            return False

    def _lanes_above(self, lane: str) -> list[str]:
        lanes = self._process.lanes()
        return lanes[: lanes.index(lane)] if lane in lanes else []

    # -- one message

    def _begin(self, messages: Sequence[Any], pending: dict[int, Attempt]) -> list[bool]:
        """Tell the ledger that the last bytes of ``messages`` are about to go out; says which may."""
        ids = [pending[id(message)].id for message in messages]
        ours = self._surely(self._process.ledger.begin, ids, self._batch.token)
        self._batch.begun(message_id for message_id, granted in zip(ids, ours, strict=True) if granted)
        for message, granted in zip(messages, ours, strict=True):
            if not granted:
                attempt = pending.pop(id(message))
                self._batch.ended([attempt.id])
                logger.info("action=not_sent message_id=%s reason=cancelled, held, expired or claimed anew", attempt.id)
        return ours

    def _settle(self, attempt: Attempt, outcome: Outcome, pending: dict[int, Attempt]) -> None:
        """Record what became of a message."""
        attempt.settle(outcome.results)
        if outcome.ending is Ending.UNKNOWN:
            settlement = Settlement(attempt.id, State.UNKNOWN, attempt.results, reason=outcome.reason)
        elif outcome.ending is Ending.PROGRESS:
            settlement = Settlement(attempt.id, State.SENDING, attempt.results)
        else:
            settlement = self._answered(attempt)
        self._record(attempt, settlement)
        if settlement.state is State.SENDING:
            self._batch.unbegun([attempt.id])
        else:
            self._batch.ended([attempt.id])
            del pending[id(outcome.message)]

    def _unbegin(self, attempt: Attempt) -> None:
        """Its last byte was not written."""
        if attempt.id in self._batch.in_flight():
            self._surely(self._process.ledger.unbegin, [attempt.id], self._batch.token)
            self._batch.unbegun([attempt.id])

    def _charge_unsent(self, attempt: Attempt, trouble: RelayTrouble, pending: dict[int, Attempt]) -> None:
        """An attempt that ended with lost connections alone; ``trouble`` is the last of them."""
        reply = Reply(451, "4.4.2 the connection was lost before the message was sent")
        if trouble.code is not None and 400 <= trouble.code < 500:
            reply = Reply(trouble.code, trouble.text)
        attempt.settle(dict.fromkeys(attempt.message.recipients(), Result(Verdict.DEFERRED, reply)))
        self._record(attempt, self._answered(attempt))
        self._batch.ended([attempt.id])
        del pending[id(attempt.message)]

    def _answered(self, attempt: Attempt) -> Settlement:
        """The settlement of a message whose every recipient has a result."""
        missing = [recipient for recipient in attempt.recipients if recipient not in attempt.results]
        if missing:
            raise AssertionError(f"{len(missing)} recipients of {attempt.id} have no result")
        state = state_of(attempt.results)
        if state is not State.DEFERRED:
            return Settlement(attempt.id, state, attempt.results, reason=_reason(attempt.results))
        due_in = self._decide(attempt, attempt.grant.attempt)
        if due_in is not None:
            return Settlement(attempt.id, state, attempt.results, due_in=due_in, reason=_reason(attempt.results))
        return self._aged(attempt)

    def _aged(self, attempt: Attempt) -> Settlement:
        """Tried for long enough: those who were only ever deferred are given up."""
        final = {
            recipient: Result(Verdict.REFUSED, result.reply) if result.verdict is Verdict.DEFERRED else result
            for recipient, result in attempt.results.items()
        }
        for recipient in attempt.recipients:
            final.setdefault(recipient, Result(Verdict.REFUSED, Reply(451, "4.4.7 never tried: relay in trouble")))
        return Settlement(attempt.id, state_of(final), final, reason="maximum age reached")

    def _decide(self, attempt: Attempt, number: int) -> float | None:
        """Seconds to wait after this attempt, taken for the ``number``-th, or None to give up."""
        age = max(0.0, self._process.now() - attempt.grant.since)
        return self._process.policies.of(self._batch.lane, attempt.relay).decide(number, age)

    def _record(self, attempt: Attempt, settlement: Settlement) -> None:
        recorded = self._surely(self._process.ledger.record, [settlement], self._batch.token)[0]
        level = logging.DEBUG if settlement.state in {State.SENT, State.SENDING} else logging.INFO
        logger.log(
            level if recorded else logging.WARNING,
            "action=%s message_id=%s attempt=%d relay=%s reason=%s",
            settlement.state if recorded else "fenced",
            attempt.id,
            attempt.grant.attempt,
            attempt.relay or "default",
            settlement.reason,
        )

    # -- what is left

    def _abandon(self, pending: dict[int, Attempt], error: str) -> None:
        """After a bug: of what had begun nobody knows, the rest comes back later."""
        begun = set(self._batch.in_flight())
        for attempt in [attempt for attempt in pending.values() if attempt.id in begun]:
            self._record(attempt, Settlement(attempt.id, State.UNKNOWN, attempt.results, reason=error))
            self._batch.ended([attempt.id])
        self._give_back(pending, LATER, error)

    def _give_back(self, pending: dict[int, Attempt], due_in: float, reason: str) -> None:
        """Release what was not begun; relay trouble costs a message nothing but, in the end, its maximum age."""
        attempts = [attempt for attempt in pending.values() if self._batch.holds(attempt.id)]
        pending.clear()
        aged = [a for a in attempts if due_in and self._decide(a, 1) is None]
        for attempt in aged:
            self._record(attempt, self._aged(attempt))
        ids = [attempt.id for attempt in attempts if attempt not in aged]
        if ids:
            self._surely(lambda: self._process.ledger.release(ids, self._batch.token, due_in=due_in, reason=reason))
        self._batch.ended(attempt.id for attempt in attempts)

    def _surely(self, call: Callable[..., T], *args: Any) -> T:
        """Repeat a call to the ledger until it is taken: nothing further is begun before that."""
        return until_recorded(self._process.give_up())(call, *args)


def _reason(results: Mapping[str, Result]) -> str:
    """The worst reply's codes, without its text: texts of relays repeat addresses, and reasons are logged."""
    replies = [result.reply for result in results.values() if result.verdict is not Verdict.ACCEPTED]
    if not replies:
        return ""
    worst = max(replies, key=lambda reply: reply.code)
    return " ".join(filter(None, (str(worst.code), worst.enhanced)))
