"""What the results of an attempt mean for its message: the settlement that the ledger records.

The waits between attempts are the policy's (``mailqueue.retry``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.batch import Attempt
    from workers.process import Process

__all__ = ["Conclusion", "state_of"]


def state_of(results: Mapping[str, Result]) -> State:
    """The final state that complete results give; DEFERRED while a recipient is deferred."""
    verdicts = {result.verdict for result in results.values()}
    if Verdict.DEFERRED in verdicts:
        return State.DEFERRED
    if Verdict.REFUSED not in verdicts:
        return State.SENT
    return State.PARTIAL if Verdict.ACCEPTED in verdicts else State.FAILED


class Conclusion:
    """Draws the conclusions for the messages of one lane, at the time of ``process``."""

    def __init__(self, process: Process, lane: str) -> None:
        self._process = process
        self._lane = lane

    def answered(self, attempt: Attempt) -> Settlement:
        """The settlement of a message whose every recipient has a result."""
        results = attempt.results
        if not all(map(results.__contains__, attempt.recipients)):
            missing = sum(recipient not in results for recipient in attempt.recipients)
            raise AssertionError(f"{missing} recipients of {attempt.id} have no result")
        state = state_of(results)
        if state is State.SENT:
            return Settlement(attempt.id, state, results)
        if state is not State.DEFERRED:
            return Settlement(attempt.id, state, results, reason=_reason(results))
        due_in = self._decide(attempt, attempt.grant.attempt)
        if due_in is None:
            return self.aged(attempt)
        return Settlement(attempt.id, state, results, due_in=due_in, reason=_reason(results))

    def aged(self, attempt: Attempt) -> Settlement:
        """Tried for long enough: those who were only ever deferred are given up."""
        final = {
            recipient: Result(Verdict.REFUSED, result.reply) if result.verdict is Verdict.DEFERRED else result
            for recipient, result in attempt.results.items()
        }
        for recipient in attempt.recipients:
            final.setdefault(recipient, Result(Verdict.REFUSED, Reply(451, "4.4.7 never tried: relay in trouble")))
        return Settlement(attempt.id, state_of(final), final, reason="maximum age reached")

    def is_aged(self, attempt: Attempt) -> bool:
        """Whether a message that has waited for a relay in trouble, at no charge, has reached its maximum age."""
        return self._decide(attempt, 1) is None

    def _decide(self, attempt: Attempt, number: int) -> float | None:
        """Seconds to wait after this attempt, taken for the ``number``-th, or None to give up."""
        age = max(0.0, self._process.now() - attempt.grant.since)
        return self._process.policies.of(self._lane, attempt.relay).decide(number, age)


def _reason(results: Mapping[str, Result]) -> str:
    """The worst reply's codes, without its text: texts of relays repeat addresses, and reasons are logged."""
    replies = [result.reply for result in results.values() if result.verdict is not Verdict.ACCEPTED]
    if not replies:
        return ""
    worst = max(replies, key=lambda reply: reply.code)
    return " ".join(filter(None, (str(worst.code), worst.enhanced)))
