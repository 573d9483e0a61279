"""What processes have used: CPU time, from /proc; nothing where there is none (macOS)."""

from __future__ import annotations

import os
from pathlib import Path

from mailqueue.testing.child import children_of

__all__ = ["cpu_of", "tree"]

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """``pid`` and all of its descendants that live."""
    return [pid, *(found for child in children_of(pid) for found in tree(child))]


def cpu_of(pid: int) -> float | None:
    """User and system time (s, in steps of 10 ms) of ``pid`` and its descendants, and of those it has waited for."""
    if not Path("/proc/self/stat").exists():
        return None
    return sum(map(_own, tree(pid))) / _TICKS


def _own(pid: int) -> int:
    try:
        # proc(5): after "pid (name)" utime, stime, cutime and cstime are the fields 14 to 17 of the line.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # it ended while we looked
    return sum(map(int, fields[11:15]))
