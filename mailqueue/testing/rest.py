"""Waiting until the mail that was enqueued has come to rest."""

from __future__ import annotations

import time

from mailqueue.ledger.states import State
from mailqueue.producer import counts

__all__ = ["settled"]

_RESTLESS = (State.QUEUED, State.SENDING, State.DEFERRED)
_LOOK_EVERY = 0.02  # s; a ledger is asked, it does not tell


def settled(timeout: float = 30.0) -> None:
    """Wait until no message is queued, being sent or deferred any more; TimeoutError after ``timeout`` s.

    All others rest: in a final state, held, unknown, or scheduled for later. Raises LedgerUnavailable.
    """
    deadline = time.monotonic() + timeout
    while restless := _restless():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not at rest within {timeout:g} s: {', '.join(restless)}")
        time.sleep(_LOOK_EVERY)


def _restless() -> list[str]:
    return [
        f"{number} {state} in {lane}"
        for lane, states in counts().items()
        for state, number in states.items()
        if state in _RESTLESS
    ]
