"""The health of the relays, as this process sees it: a relay in trouble is left alone until its next probe."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailqueue.smtp.classify import Stage
from mailqueue.smtp.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.errors import RelayTrouble

__all__ = ["Relays"]

logger = logging.getLogger(__name__)

FIRST_PROBE = 5.0  # s after the first trouble; doubles with each
LAST_PROBE = 300.0  # s, RFC 5321 4.5.4.1 wants retries spaced; a relay of ours is asked every five minutes


# Stages before which the relay has heard no address. What it says later may repeat one, and is not logged.
_NO_ADDRESS_YET = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS})


@dataclass(slots=True)
class _Trouble:
    times: int = 0
    until: float = 0.0
    over: str = ""  # the only message that it was over the last time, if it was over one


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

    def troubled(self, relay: str, error: RelayTrouble, over: str = "") -> float:
        """Note trouble with ``relay``; returns the seconds until its next probe.

        ``over`` is the id of the message that it was over, if it was over one alone. The same one for a second time
        proves nothing: that message has to wait, the others need not.
        """
        with self._lock:
            trouble = self._troubles.setdefault(relay, _Trouble())
            down = not over or over != trouble.over
            delay: float = min(LAST_PROBE, FIRST_PROBE * 2**trouble.times) * (1 + self._jitter() / 4)
            trouble.times += 1
            trouble.over = over
            if down:
                trouble.until = self._clock() + delay
        logger.warning(
            "action=%s relay=%s stage=%s code=%s next_probe=%.0fs reason=%s",
            "relay_trouble" if down else "relay_trouble_over_one_message",
            relay or "default",
            error.stage,
            error.code,
            delay,
            _reason(error),
        )
        return delay

    def answered(self, relay: str) -> None:
        """``relay`` has answered for a message: whatever it was is over."""
        with self._lock:
            over = self._troubles.pop(relay, None)
        if over:
            logger.warning("action=relay_recovered relay=%s", relay or "default")


def _reason(error: RelayTrouble) -> str:
    """What went wrong, without a text that may hold addresses."""
    if error.stage in _NO_ADDRESS_YET:
        return str(error)
    if error.code is None:
        # At a login the exception's text may hold some of the password; elsewhere it is smtplib's or the system's.
        return type(error.__cause__).__name__ if error.stage == Stage.AUTH and error.__cause__ else str(error)
    return Reply(error.code, error.text).enhanced or "see the code"
