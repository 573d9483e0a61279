"""Looks, from time to time, whether a higher lane has mail: then a drain of a lower one makes room for it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.process import Process

__all__ = ["LOOK_AGAIN", "LOOK_EVERY", "Lookout"]

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.05  # s between looks: far below what a person notices
LOOK_AGAIN = 5.0  # s after a look that failed: each may take seconds that are the mail's


class Lookout:
    """The look-out of one drain of ``lane``, one for all its batches: the quickest take less time than there is between looks.

    Args:
        process: Whose lanes count, and whose tap it looks through.
        lane: That is drained.
        clock: s, monotonic.
    """

    def __init__(self, process: Process, lane: str, clock: Callable[[], float] = time.monotonic) -> None:
        lanes = process.lanes()
        self._process = process
        self._higher = lanes[: lanes.index(lane)] if lane in lanes else []
        self._clock = clock
        self._look_at = clock() + LOOK_EVERY  # a moment ago Celery found nothing above the task that it gave us

    def sees_mail(self) -> bool:
        """Whether a higher lane that this worker carries has mail, as far as it is time to look."""
        if not self._higher or self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + LOOK_EVERY
        try:
            return self._process.tap().waiting(self._higher)
        except Exception as error:  # noqa: BLE001 - any broker's errors; urgent mail is no reason to lose this batch
            logger.warning("action=look_up_failed reason=%s", type(error).__name__)
            self._process.drop_tap()
            self._look_at = self._clock() + LOOK_AGAIN
            return False
