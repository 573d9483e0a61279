"""What the figures were measured on: the machine, and the versions of everything."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.helper import ROOT

__all__ = ["machine"]


def machine() -> dict[str, str | float]:
    """The machine as it is now; what cannot be learned is left out."""
    told: dict[str, str | float | None] = {
        "when": dt.datetime.now(dt.UTC).date().isoformat(),
        "processor": _line("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "commit": _commit(),
    }
    return {name: value for name, value in told.items() if value}


def _line(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return found[1].strip() if found else None


def _memory() -> str | None:
    size = _line("/proc/meminfo", r"MemTotal:\s*(\d+) kB")
    return f"{int(size) / 1024**2:.0f} GiB" if size else None


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            check=False, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
    except OSError:
        return None
    return done.stdout.strip() or None
