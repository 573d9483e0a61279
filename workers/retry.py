"""The short patience inside an attempt, made of tenacity's stop and wait strategies.

When the next attempt is made is the policy's to say: ``mailqueue.retry``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from mailqueue.errors import LedgerUnavailable, RelayTrouble

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RECONNECTS", "reconnecting", "until_recorded"]

logger = logging.getLogger(__name__)

RECONNECTS = 4  # connections in a row that end without progress, before the relay counts as being in trouble


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


def until_recorded(give_up: Callable[[], bool], first: LedgerUnavailable | None = None) -> Callable[..., Any]:
    """Patience with the ledger: repeat a call until the store takes it, or until ``give_up`` says that we must stop.

    Every call of the ledger is safe to repeat under the same token; giving up leaves the rest to the lease. ``first``
    is what the first try has failed with, if it was made already: the next one waits.
    """
    failed = [first] if first is not None else []

    def stop(_state: RetryCallState) -> bool:
        return give_up()

    patience = Retrying(
        retry=retry_if_exception_type(LedgerUnavailable),
        stop=stop,
        wait=wait_random_exponential(multiplier=0.1, max=5),
        before_sleep=_say,
        reraise=True,
    )

    def repeat(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def attempt() -> Any:
            if failed:
                raise failed.pop()
            return call(*args, **kwargs)

        return patience(attempt)

    return repeat


def _say(state: RetryCallState) -> None:
    outcome: Any = state.outcome
    logger.warning("action=ledger_unavailable try=%d reason=%s", state.attempt_number, outcome.exception())
