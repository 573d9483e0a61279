"""An SMTP server that keeps up with a whole fleet, in a process of its own, and keeps account of who got what and when.

    python -m mailqueue.testing.tally [--refuse gone.example]

It keeps no content: of each message the recipients, the moment, and the ``likeness`` of what a reader sees. It ends
with its standard input, so that it outlives nobody, however they end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

from mailqueue.testing.environment import clean_environment
from mailqueue.testing.likeness import likeness_of
from mailqueue.testing.reception import Reception, answer_to_ehlo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

__all__ = ["Tallied", "Tally", "TallyTrouble"]

_HOST = "127.0.0.1"


class TallyTrouble(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """The tally did not start, or has ended."""


@dataclass(frozen=True, slots=True)
class Tallied:
    """One message: when it was taken (s, time.monotonic() of this machine), for whom, and what it looks like."""

    at: float
    recipients: tuple[str, ...]
    likeness: str


class Tally:
    """The server as a context manager: serving on ``port`` on entering, ended on leaving.

    Args:
        refuse: Domains whose recipients are refused for good (550 5.1.1).

    Raises:
        TallyTrouble: From every method, once its process has ended.
    """

    def __init__(self, *, refuse: Iterable[str] = ()) -> None:
        self.host = _HOST
        self.port = 0
        self._command = [sys.executable, "-m", __name__, *(f"--refuse={domain}" for domain in refuse)]
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def count(self) -> int:
        """How many messages have arrived."""
        return int(self._ask("count"))

    def arrivals(self, first: int = 0) -> list[Tallied]:
        """The messages so far in order, from the one numbered ``first`` on."""
        return [Tallied(at, tuple(names.split("\n")), mark) for at, names, mark in self._ask(f"arrivals {first}")]

    def start(self) -> None:
        """Start it and learn its port."""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
            process_group=0,  # a Ctrl-C is for us, who end it then
        )
        self.port = int(self._answer())

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            _of(process.stdin).close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _of(process.stdout).close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise TallyTrouble("the tally is not running")
        return self._process

    def _ask(self, question: str) -> Any:
        pipe = _of(self._running.stdin)
        try:
            pipe.write(f"{question}\n")
            pipe.flush()
        except BrokenPipeError:
            raise TallyTrouble("the tally has ended") from None
        return self._answer()

    def _answer(self) -> Any:
        line = _of(self._running.stdout).readline()
        if not line:
            raise TallyTrouble("the tally has ended")
        return json.loads(line)


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


async def _serve(refused: Sequence[str]) -> None:
    """Serve on a free port, say which, and answer what is asked on standard input until that ends."""
    loop = asyncio.get_running_loop()
    book, ehlo = _Book(), answer_to_ehlo("tally.mailqueue.invalid")
    endings = tuple(f"@{domain}".encode().lower() for domain in refused)

    def refuses(recipient: bytes) -> bool:
        return recipient.lower().endswith(endings)

    listener = socket.create_server((_HOST, 0), backlog=512)
    # asyncio does so by itself only for a socket whose protocol was named. Connections have it from their listener.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = await loop.create_server(
        lambda: Reception(book.take, ehlo, refuses=refuses if endings else None), sock=listener
    )
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    _say(listener.getsockname()[1])
    while line := await questions.readline():
        _say(book.answer(line.decode().strip()))
    server.close()


def _say(words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # all of ours are pipes
    return pipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refuse", action="append", default=[], metavar="DOMAIN", help="refuse its recipients")
    asyncio.run(_serve(parser.parse_args(arguments).refuse))


if __name__ == "__main__":
    main()
