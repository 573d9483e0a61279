"""Puts many messages into a queue, from two processes, as an application would: by ``enqueue_many()``.

    python -m benchmarks.scale.fill --count 1000000 [--first 0] [--lane bulk] [--kind note]

A *note* is 300 octets of text: a million of them fit into 2 GB of store. A *letter* is what the other benchmarks send, 2 KB of text
and HTML.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING

from benchmarks.helper import ROOT
from benchmarks.letters import SENDER, address, letters
from mailqueue import EmailMessage, EmailMultiAlternatives, enqueue_many
from mailqueue.ledger.open import open_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["KINDS", "fill", "letter", "note"]

_PROCESSES = 2  # on two cores more of them fill no faster
_NOTE = "We thank you for your order. It is on its way to you, and will be with you soon. " * 3
_KEPT = 10_000  # receipts that a producer holds at a time
_LOOK = 0.5  # s between two looks at how far it has come


def note(number: int) -> EmailMessage:
    """The note of that number."""
    return EmailMessage(f"Your order {number}", f"Dear customer {number},\n\n{_NOTE}\n", SENDER, [address(number)])


def letter(number: int) -> EmailMessage:
    """The letter of that number."""
    item = next(letters(1, number))
    message = EmailMultiAlternatives(item.subject, item.text, SENDER, [item.recipient])
    message.attach_alternative(item.html, "text/html")
    return message


KINDS: Mapping[str, Callable[[int], EmailMessage]] = {"note": note, "letter": letter}


def fill(
    env: Mapping[str, str],
    count: int,
    *,
    first: int = 0,
    lane: str = "default",
    kind: str = "note",
    progress: Callable[[str], None] = lambda _words: None,
) -> float:
    """Enqueue the messages numbered from ``first`` on and return how long (s) that took."""
    began = time.monotonic()
    share = -(-count // _PROCESSES)
    running = []
    try:
        for start in range(first, first + count, share):
            number = min(share, first + count - start)
            options = [f"--count={number}", f"--first={start}", f"--lane={lane}", f"--kind={kind}"]
            running.append(subprocess.Popen([sys.executable, "-m", __name__, *options], env=dict(env), cwd=ROOT))
        _watch(running, env, lane, count, progress)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return time.monotonic() - began


def _watch(
    running: Sequence[subprocess.Popen[bytes]],
    env: Mapping[str, str],
    lane: str,
    count: int,
    progress: Callable[[str], None],
) -> None:
    """Tell how far it has come until all have ended. Raises RuntimeError if one fails."""
    ledger = open_ledger(env["MAILQUEUE_BROKER_URL"])
    at_first = _accepted(ledger.counts(), lane)
    while any(process.poll() is None for process in running):
        progress(f"filling: {_accepted(ledger.counts(), lane) - at_first:,} of {count:,}")
        time.sleep(_LOOK)
    ledger.close()
    if any(process.returncode for process in running):
        raise RuntimeError(f"a producer ended with {[process.returncode for process in running]}")


def _accepted(counts: Mapping[str, Mapping[str, int]], lane: str) -> int:
    return sum(counts.get(lane, {}).values())


def main(words: Sequence[str] | None = None) -> None:
    """Enqueue one share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lane", default="default")
    parser.add_argument("--kind", choices=sorted(KINDS), default="note")
    given = parser.parse_args(words)
    numbers = iter(range(given.first, given.first + given.count))
    while some := list(islice(numbers, _KEPT)):
        enqueue_many(map(KINDS[given.kind], some), lane=given.lane)


if __name__ == "__main__":
    main()
