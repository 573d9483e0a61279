"""An SMTP server that keeps up with a whole fleet, in a process of its own, and keeps account of who got what and when.

    python -m mailqueue.testing.tally [--refuse gone.example]

It keeps no content: of each message the recipients, the moment, and the ``likeness`` of what a reader sees. It ends
with its standard input, so that it outlives nobody, however they end.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailqueue.testing.environment import clean_environment
from mailqueue.testing.helper import Helper, serve
from mailqueue.testing.likeness import likeness_of
from mailqueue.testing.reception import Reception, answer_to_ehlo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Tallied", "Tally"]


@dataclass(frozen=True, slots=True)
class Tallied:
    """One message: when it was taken (s, time.monotonic() of this machine), for whom, and what it looks like."""

    at: float
    recipients: tuple[str, ...]
    likeness: str


class Tally(Helper):
    """The server as a context manager: serving on ``port`` on entering, ended on leaving.

    Args:
        refuse: Domains whose recipients are refused for good (550 5.1.1).

    Raises:
        HelperTrouble: From every method, once its process has ended.
    """

    def __init__(self, *, refuse: Iterable[str] = ()) -> None:
        super().__init__(__name__, [f"--refuse={domain}" for domain in refuse], env=clean_environment())

    @property
    def count(self) -> int:
        """How many messages have arrived."""
        return int(self.ask("count"))

    def arrivals(self, first: int = 0) -> list[Tallied]:
        """The messages so far in order, from the one numbered ``first`` on."""
        return [Tallied(at, tuple(names.split("\n")), mark) for at, names, mark in self.ask(f"arrivals {first}")]


class _Book:
    """What has arrived."""

    def __init__(self) -> None:
        self._times = array("d")
        self._recipients: list[bytes] = []  # a message's own in one piece: splitting them can wait
        self._marks: list[str] = []

    def take(self, recipients: bytes, content: bytes) -> None:
        self._marks.append(likeness_of(content))
        self._recipients.append(recipients)
        self._times.append(time.monotonic())

    def answer(self, question: str) -> Any:
        match question.split():
            case ["count"]:
                return len(self._times)
            case ["arrivals", first]:
                rows = zip(self._times, self._recipients, self._marks, strict=True)
                return [(at, names.decode(), mark) for at, names, mark in list(rows)[int(first) :]]
            case _:
                return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refuse", action="append", default=[], metavar="DOMAIN", help="refuse its recipients")
    book, ehlo = _Book(), answer_to_ehlo("tally.mailqueue.invalid")
    endings = tuple(f"@{domain}".encode().lower() for domain in parser.parse_args(arguments).refuse)

    def refuses(recipient: bytes) -> bool:
        return recipient.lower().endswith(endings)

    asyncio.run(serve(lambda: Reception(book.take, ehlo, refuses=refuses if endings else None), book.answer))


if __name__ == "__main__":
    main()
