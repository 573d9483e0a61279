"""When to try again: one policy for each lane and relay, made of tenacity's stop and wait strategies.

Time and jitter come from the caller or from tenacity, so that a policy can be asked for its schedule without waiting
for it. Leaves the patience inside an attempt to the workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenacity import RetryCallState, stop_after_delay, wait_chain, wait_fixed, wait_random

from mailqueue import conf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Policies", "RetryPolicy"]


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

    def attempts(self) -> int:
        """How often a message is tried that is refused for now each time (without jitter, and trouble with relays)."""
        number, age = 1, 0.0
        for delay in self.delays:
            if age >= self.max_age:
                return number
            age += delay
            number += 1
        return number + max(0, math.ceil((self.max_age - age) / self.delays[-1]))


class Policies:
    """The policy of each lane and relay, by the settings as they are now: the relay's, else the lane's, else for all."""

    def __init__(self) -> None:
        self._all = {"retry_delays": conf.get("MAILQUEUE_RETRY_DELAYS"), "max_age": conf.get("MAILQUEUE_MAX_AGE")}
        self._lanes: Mapping[str, Mapping[str, Any]] = conf.get("MAILQUEUE_LANES")
        self._relays: Mapping[str, Mapping[str, Any]] = conf.get("MAILQUEUE_RELAYS")
        self._made: dict[tuple[str, str], RetryPolicy] = {}

    def of(self, lane: str, relay: str) -> RetryPolicy:
        """The policy for messages of ``lane`` that go through the alias ``relay`` ("" is called "default" there)."""
        policy = self._made.get((lane, relay))
        if policy is None:
            options = {**self._all, **self._lanes.get(lane, {}), **self._relays.get(relay or "default", {})}
            policy = self._made[lane, relay] = RetryPolicy(tuple(options["retry_delays"]), options["max_age"])
        return policy
