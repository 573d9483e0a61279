"""The relay that everybody's mail goes to: takes every message as fast as Python can, and counts who got what.

    python -m benchmarks.sink [--offer pipelining,chunking] [--record]

Fast: it remembers each message's recipients and the moment when it answered, and throws the content away. Recording: it
keeps a digest of what a reader would see of each message as well (``letters.digest``).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.helper import Helper, serve
from benchmarks.letters import digest
from mailqueue.testing.reception import EXTENSIONS, Reception, answer_to_ehlo

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALL", "Arrival", "Sink", "SinkTimeout"]

ALL = EXTENSIONS
_POLL = 0.01  # s between two looks at the count


class SinkTimeout(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """Not all messages that were waited for have arrived."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message: when its last reply was written (s, time.monotonic() of this machine), and who was to get it."""

    at: float
    recipients: tuple[str, ...]
    digest: str = ""


class Sink(Helper):
    """The sink in a process of its own, as a context manager.

    Args:
        offer: Of ``ALL``, what the answer to EHLO lists; 8BITMIME, SMTPUTF8 and SIZE always are.
        record: Keep digests of the contents, which takes a millisecond a message.
    """

    def __init__(self, *, offer: Sequence[str] = ALL, record: bool = False) -> None:
        super().__init__("benchmarks.sink", [f"--offer={','.join(offer)}", *(["--record"] if record else [])])

    @property
    def count(self) -> int:
        """How many messages have arrived."""
        return int(self.ask("count"))

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return int(self.ask("connections"))

    def wait_for(self, count: int, timeout: float = 60.0) -> int:
        """Wait until ``count`` messages have arrived; SinkTimeout after ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while (arrived := self.count) < count:
            if time.monotonic() > deadline:
                raise SinkTimeout(f"{arrived} of {count} messages have arrived within {timeout:g} s")
            time.sleep(_POLL)
        return arrived

    def arrivals(self) -> list[Arrival]:
        """All messages so far, in order."""
        return [Arrival(at, tuple(recipients), mark) for at, recipients, mark in self.ask("arrivals")]

    def span(self) -> tuple[float, float]:
        """When the first and the last of them arrived (s, time.monotonic())."""
        first, last = self.ask("span")
        return first, last

    def clear(self) -> None:
        """Forget all of it."""
        self.ask("clear")


class _Book:
    """What has arrived."""

    def __init__(self, *, record: bool) -> None:
        self._record = record
        self.connections = 0
        self.clear()

    def connected(self) -> None:
        self.connections += 1

    def take(self, recipients: bytes, content: bytes) -> None:
        self.times.append(time.monotonic())
        self.recipients.append(recipients)
        if self._record:
            self.digests.append(digest(content))

    def clear(self) -> None:
        self.times = array("d")
        self.recipients: list[bytes] = []  # a message's own in one piece: splitting them can wait
        self.digests: list[str] = []

    def answer(self, question: str) -> Any:
        match question:
            case "count":
                return len(self.times)
            case "connections":
                return self.connections
            case "span":
                return [self.times[0], self.times[-1]] if self.times else [0.0, 0.0]
            case "arrivals":
                digests = self.digests or [""] * len(self.times)
                lists = [lines.decode().split("\n") for lines in self.recipients]
                return list(zip(self.times, lists, digests, strict=True))
            case "clear":
                self.clear()
        return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offer", default=",".join(ALL), help="of %(default)s, what to offer")
    parser.add_argument("--record", action="store_true", help="keep digests of the contents")
    given = parser.parse_args(arguments)
    offered = [word for word in given.offer.split(",") if word]
    if unknown := set(offered) - set(ALL):
        parser.error(f"--offer: {', '.join(sorted(unknown))} is none of {', '.join(ALL)}")
    book, ehlo = _Book(record=given.record), answer_to_ehlo("sink", offered)
    asyncio.run(
        serve(lambda: Reception(book.take, ehlo, keep=given.record, made=book.connected), book.answer),
    )


if __name__ == "__main__":
    main()
