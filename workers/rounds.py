"""Rounds: a thread of a worker's main process that does the same again and again, whatever befalls it."""

from __future__ import annotations

import abc
import logging
import threading
from typing import Final

from mailqueue.errors import BrokerUnavailable, LedgerFault, LedgerUnavailable

__all__ = ["Rounds"]

logger = logging.getLogger(__name__)

_PATIENCE: Final = 10.0  # s that the end of a round is waited for


class Rounds(abc.ABC):
    """Calls ``once`` until stopped.

    Args:
        name: Of the thread, and of what is logged.
        idle: s between two rounds.
        busy: s after a round in which something was done.
    """

    def __init__(self, name: str, *, idle: float, busy: float) -> None:
        self._name = name
        self._idle = idle
        self._busy = busy
        self._stop = threading.Event()
        self._failing: type[Exception] | None = None
        self._thread = threading.Thread(target=self._run, name=f"mailqueue-{name}", daemon=True)

    @abc.abstractmethod
    def once(self) -> int:
        """One round; returns how much was done in it."""

    @property
    def stopping(self) -> bool:
        """Whether it is to end."""
        return self._stop.is_set()

    def end(self) -> None:
        """Let no further round begin."""
        self._stop.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it has in hand is finished."""
        self.end()
        self._thread.join(timeout=_PATIENCE)

    def _run(self) -> None:
        pause = self._idle
        while not self._stop.wait(pause):
            pause = self._idle
            try:
                if self.once():
                    pause = self._busy
                if self._failing and not self.stopping:  # a round that ends the rounds need not have come to anything
                    logger.warning("action=%s_recovered", self._name)
                self._failing = None
            except (LedgerUnavailable, BrokerUnavailable, LedgerFault) as error:  # of which a traceback tells nothing
                if self._failing is not type(error):
                    fault = isinstance(error, LedgerFault)
                    level, what = (logging.ERROR, "failed") if fault else (logging.WARNING, "waits")
                    logger.log(level, "action=%s_%s reason=%s", self._name, what, error)
                self._failing = type(error)
            except Exception:
                # The thread must outlive its bugs.
                logger.exception("action=%s_failed", self._name)
