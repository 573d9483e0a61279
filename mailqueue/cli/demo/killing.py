"""Killing a worker's child in the act: the one that is just delivering to our inbox."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mailqueue.testing.inbox import Arrival

__all__ = ["Killer", "holder_of"]


class Killer:
    """Called with each arrival; at the ``after``-th that ``counts``, kills the child that has sent it.

    It does so before that child is answered: the message has arrived, and its sender will never record it. That is
    the one moment at which a copy can be repeated, and it must be counted.
    """

    def __init__(self, counts: Callable[[Arrival], bool], after: int) -> None:
        self.after = after
        self.killed: int | None = None
        self._children: Callable[[], Iterable[int]] = list
        self._counts = counts
        self._seen = 0

    def aim(self, children: Callable[[], Iterable[int]]) -> None:
        """From now on, kill one of these processes."""
        self._children = children

    def __call__(self, arrival: Arrival) -> None:
        """Count, and kill when it is time."""
        if self.killed is not None or not self._counts(arrival):
            return
        self._seen += 1
        if self._seen < self.after:
            return
        children = list(self._children())
        victim = holder_of(arrival.peer[1], children) or (children[0] if children else None)
        if victim is not None:
            os.kill(victim, signal.SIGKILL)
            self.killed = victim


def holder_of(port: int, processes: Iterable[int]) -> int | None:
    """Which of ``processes`` holds the TCP socket with this local port; None where there is no /proc."""
    sockets = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            # proc(5): local address and port in hexadecimal second, the inode tenth.
            rows = (line.split() for line in table.read_text().splitlines()[1:])
            sockets |= {f"socket:[{row[9]}]" for row in rows if int(row[1].rpartition(":")[2], 16) == port}
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            try:
                if str(descriptor.readlink()) in sockets:
                    return process
            except OSError:
                continue  # closed while we looked
    return None
