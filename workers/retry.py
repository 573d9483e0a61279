"""When to try again: one policy between attempts, and the short patience inside one.

Both are made of tenacity's stop and wait strategies. Time and jitter come from the caller or from tenacity, so that
a policy can be asked for its schedule without waiting for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_chain,
    wait_fixed,
    wait_random,
    wait_random_exponential,
)

from mailqueue.errors import LedgerUnavailable, RelayTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RECONNECTS", "RetryPolicy", "reconnecting", "until_recorded"]

logger = logging.getLogger(__name__)

RECONNECTS = 4  # connections in a row that end without progress, before the relay counts as being in trouble


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a temporarily refused message waits before its next attempt.

    With the defaults after 1, 5, 15, 30 min, 1 h, 2 h, then every 4 h, each up to a tenth longer so that a burst does
    not come back as a burst, until the message is 5 days old (Postfix's maximal_queue_lifetime).
    """

    delays: Sequence[float] = (60, 300, 900, 1800, 3600, 7200, 14400)  # s; the last one repeats
    max_age: float = 432_000  # s

    def decide(self, attempt: int, age: float) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) of a message ``age`` s old, or None to give up."""
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type] # only its times are read
        state.attempt_number = attempt
        state.start_time = 0.0
        state.outcome_timestamp = age
        if stop_after_delay(self.max_age)(state):
            return None
        waits = (wait_fixed(delay) + wait_random(0, delay / 10) for delay in self.delays)
        return float(wait_chain(*waits)(state))


def reconnecting(
    sleep: Callable[[float], None], worth: Callable[[RelayTrouble], bool], tries: int = RECONNECTS
) -> Retrying:
    """Patience inside an attempt: reconnect within seconds to a relay whose trouble is ``worth`` it."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, RelayTrouble) and worth(error)),
        stop=stop_after_attempt(tries),
        wait=wait_random_exponential(multiplier=0.25, max=5),
        sleep=sleep,
        reraise=True,
    )


def until_recorded(give_up: Callable[[], bool]) -> Retrying:
    """Patience with the ledger: repeat a call until the store takes it, or until ``give_up`` says that we must stop.

    Every call of the ledger is safe to repeat under the same token; giving up leaves the rest to the lease.
    """

    def stop(_state: RetryCallState) -> bool:
        return give_up()

    return Retrying(
        retry=retry_if_exception_type(LedgerUnavailable),
        stop=stop,
        wait=wait_random_exponential(multiplier=0.1, max=5),
        before_sleep=_say,
        reraise=True,
    )


def _say(state: RetryCallState) -> None:
    outcome: Any = state.outcome
    logger.warning("action=ledger_unavailable try=%d reason=%s", state.attempt_number, outcome.exception())
