"""Loads a campaign in a process of its own, so that its memory is that of nothing else.

    python -m benchmarks.scale.loading --campaign ID --recipients N

Tells of its progress on standard error, and of the outcome in a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.helper import ROOT
from mailqueue import bulk
from mailqueue.testing.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["load", "recipients"]

_EARLY = 10  # the part at which the process is looked at for the first time: 1 in so many
_SYLLABLES = [
    "an",
    "ba",
    "co",
    "di",
    "el",
    "fa",
    "go",
    "hu",
    "in",
    "ja",
    "ke",
    "lo",
    "mi",
    "no",
    "or",
    "pe",
    "qu",
    "ri",
    "so",
    "ta",
    "ul",
    "vi",
    "wo",
    "xa",
    "ye",
    "zo",
]
_TOWNS = ("Bern", "Graz", "Lille", "Oslo", "Porto", "Turku", "York")
_TEMPLATE = bulk.Template(
    subject="{{ name }}, you have {{ points }} points",
    text="Dear {{ name }},\n\nyou have {{ points }} points. The shop in {{ town }} is looking forward to your visit.\n",
    html="<p>Dear {{ name }},</p><p>you have <b>{{ points }}</b> points. The shop in {{ town }} awaits you.</p>",
    from_email="news@shop.example",
)


def recipients(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """``count`` recipients with their data, one after another; names are drawn, so that they compress as names do."""
    draw = random.Random(5322).choices
    for number in range(count):
        first, last = ("".join(draw(_SYLLABLES, k=3)).title() for _ in range(2))
        yield (
            f"{first}.{last}{number}@mail{number % 97}.example".lower(),
            {"name": f"{first} {last}", "points": number * 31 % 1000, "town": _TOWNS[number % 7]},
        )


def load(env: Mapping[str, str], campaign: str, count: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Load it in a process of its own; RuntimeError if that fails."""
    command = [sys.executable, "-m", __name__, f"--campaign={campaign}", f"--recipients={count}"]
    with subprocess.Popen(
        command, env=clean_environment(**env), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            progress(line.strip())
        told = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"loading ended with {process.returncode}:\n{''.join(lines[-30:])}")
    found: dict[str, Any] = json.loads(told)
    return found


class _Watch:
    """Looks at the process while it loads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._told = 0.0
        self.early = 0
        self.rss_early = 0

    def __call__(self, loaded: bulk.Loaded) -> None:
        if not self.early and loaded.read >= self._count // _EARLY:
            self.early, self.rss_early = loaded.read, peak()
        now = time.monotonic()
        if now > self._told + 0.5:
            self._told = now
            sys.stderr.write(f"loading: {loaded.read:,} of {self._count:,}\n")
            sys.stderr.flush()


def peak() -> int:
    """Octets that this process has had in memory at most, from /proc (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def main(words: Sequence[str] | None = None) -> None:
    """Load it, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaign", required=True)
    parser.add_argument("--recipients", type=int, required=True)
    given = parser.parse_args(words)
    watch = _Watch(given.recipients)
    began = time.monotonic()
    campaign = bulk.send(_TEMPLATE, recipients(given.recipients), campaign=given.campaign, progress=watch)
    row = {"seconds": time.monotonic() - began, "rss": peak(), "early": watch.early, "rss_early": watch.rss_early}
    if campaign.added != given.recipients:
        raise SystemExit(f"{campaign.added:,} were added, and {given.recipients:,} were given")
    encode = msgspec.json.Encoder().encode
    row["data"] = sum(len(encode(each)) for each in recipients(given.recipients))
    sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
