"""The stop flag of a worker: one byte that its main process shares with the children it forks."""

from __future__ import annotations

import mmap
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StopFlag"]


class StopFlag:
    """Set in the main process when it begins to shut down; read by children between messages."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)  # anonymous and shared: survives fork, needs no name

    def set(self) -> None:
        """Ask every process of this worker to finish what it has begun, and nothing more."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether the worker is shutting down."""
        return self._byte[0] == 1

    def sleep(self, seconds: float, pause: Callable[[float], None] = time.sleep) -> None:
        """Sleep for ``seconds``, or until the flag is set."""
        deadline = time.monotonic() + seconds
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            pause(min(left, 0.1))  # a byte in shared memory cannot be waited for
