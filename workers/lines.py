"""Several lines at one errand: connections in parallel to a relay that is far away, a thread each.

All are fed from the one errand, so that a slow connection does not keep the others waiting. Leaves to ``deliver`` what
becomes of messages that none of them could send.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from mailqueue.errors import RelayTrouble
from workers.line import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.batch import Batch
    from workers.errand import Errand
    from workers.process import Process

__all__ = ["Lines"]

logger = logging.getLogger(__name__)


class Lines:
    """The lines of one delivery. The calling thread sends nothing: it looks for reasons to stop meanwhile."""

    def __init__(self, process: Process, batch: Batch, errand: Errand) -> None:
        self._process = process
        self._batch = batch
        self._errand = errand
        self._stopped = False
        self._endings: list[Exception] = []  # what lines have ended with, other than well

    def work(self, count: int, look_every: float) -> None:
        """Deliver over ``count`` connections; returns when the last of them has ended.

        What waits in the errand then is for one more line to send, unless all of these have ended in trouble. Raises
        what they ended with: RelayTrouble only if all did, LedgerUnavailable and bugs if any did.

        Args:
            count: Lines.
            look_every: s between looks for a reason to stop.
        """
        must_stop = self._errand.must_stop
        self._errand.must_stop = lambda: self._stopped or self._process.stopping
        share = -(-len(self._errand) // count)
        lines = [Line(self._process, self._batch, self._errand, share) for _ in range(count)]
        threads = [
            threading.Thread(target=self._run, args=(line,), name=f"mailqueue-line-{number}", daemon=True)
            for number, line in enumerate(lines, 1)
        ]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                self._stopped = self._stopped or must_stop()
                self._wait(threads, look_every)
        finally:
            self._stopped = True  # if we are torn out of it, by a time limit, they begin nothing further
            self._errand.must_stop = must_stop
        self._conclude(lines)

    @staticmethod
    def _wait(threads: list[threading.Thread], seconds: float) -> None:
        until = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, line: Line) -> None:
        try:
            line.work()
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits for this one
            self._endings.append(error)

    def _conclude(self, lines: Sequence[Line]) -> None:
        for ending in self._endings:
            if not isinstance(ending, RelayTrouble):
                raise ending
        if len(self._endings) == len(lines):
            raise self._endings[-1]
        served = sum(line.trouble is None for line in lines)
        trouble = next((line.trouble for line in lines if line.trouble is not None), None)
        if served and trouble is not None:
            # It serves the others: what it has against these is their number, as a rule.
            relay = self._errand.relay
            self._process.connections.refused(relay, served)
            words = relay or "default", served, len(lines), trouble.stage, trouble.code
            logger.warning("action=fewer_connections relay=%s served=%d of=%d stage=%s code=%s", *words)
