"""The health of the relays, as this process sees it: a relay in trouble is left alone until its next probe."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.errors import RelayTrouble

__all__ = ["Relays"]

logger = logging.getLogger(__name__)

FIRST_PROBE = 5.0  # s after the first trouble; doubles with each
LAST_PROBE = 300.0  # s, RFC 5321 4.5.4.1 wants retries spaced; a relay of ours is asked every five minutes


@dataclass(slots=True)
class _Trouble:
    times: int = 0
    until: float = 0.0


class Relays:
    """Tells for each relay how long to wait before it is asked again. Safe across threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._troubles: dict[str, _Trouble] = {}

    def wait(self, relay: str) -> float:
        """Seconds until ``relay`` may be asked again; 0.0 if it may be asked now."""
        with self._lock:
            trouble = self._troubles.get(relay)
            return max(0.0, trouble.until - self._clock()) if trouble else 0.0

    def troubled(self, relay: str, error: RelayTrouble) -> float:
        """Note trouble with ``relay``; returns the seconds until its next probe."""
        with self._lock:
            trouble = self._troubles.setdefault(relay, _Trouble())
            delay: float = min(LAST_PROBE, FIRST_PROBE * 2**trouble.times) * (1 + self._jitter() / 4)
            trouble.times += 1
            trouble.until = self._clock() + delay
        logger.warning(
            "action=relay_trouble relay=%s stage=%s code=%s next_probe=%.0fs reason=%s",
            relay or "default",
            error.stage,
            error.code,
            delay,
            error,
        )
        return delay

    def answered(self, relay: str) -> None:
        """``relay`` has taken a connection: whatever it was is over."""
        with self._lock:
            over = self._troubles.pop(relay, None)
        if over:
            logger.warning("action=relay_recovered relay=%s", relay or "default")
