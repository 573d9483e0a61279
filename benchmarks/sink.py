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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ALL", "Arrival", "Sink", "SinkTimeout"]

ALL = ("pipelining", "chunking")
_SIZE = 64 * 1024 * 1024  # octets; announced, not enforced
_POLL = 0.01  # s between two looks at the count
_END = b"\r\n.\r\n"


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

    def __init__(self) -> None:
        self.connections = 0
        self.clear()

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


class _Reception(asyncio.Protocol):
    """One connection. All commands that have come are answered with one write."""

    def __init__(self, book: _Book, greeting: bytes, extensions: bytes, record: bool) -> None:
        self._book = book
        self._greeting = greeting
        self._extensions = extensions
        self._record = record
        self._buffer = bytearray()
        self._recipients: list[bytes] = []
        self._content = bytearray()  # of the chunks so far, when recording
        self._chunk = 0  # octets of the chunk that are still to come
        self._last = False  # the chunk is the last one
        self._in_data = False
        self._scanned = 0  # of the buffer, without the end of the data
        self._verbs: dict[bytes, Callable[[bytes], bytes]] = {
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"EHLO": lambda _: self._extensions,
            b"HELO": lambda _: b"250 sink\r\n",
            b"RSET": self._rset,
            b"NOOP": lambda _: b"250 2.0.0 Ok\r\n",
            b"QUIT": self._quit,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._book.connections += 1
        transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        replies: list[bytes] = []
        position = 0
        while position < len(buffer) or (self._last and not self._chunk):  # the latter: BDAT 0 LAST
            if self._chunk or self._last:
                position = self._take_chunk(position, replies)
                if self._chunk:
                    break
            elif self._in_data:
                end = self._end_of_data(position)
                if end < 0:
                    break
                position = self._take_data(position, end, replies)
            else:
                end = buffer.find(b"\n", position)
                if end < 0:
                    break
                line = bytes(buffer[position:end])
                position = end + 1
                replies.append(self._verbs.get(line[:4].upper(), _unknown)(line))
        del buffer[:position]
        if self._in_data:
            self._scanned = max(0, len(buffer) - len(_END))
        if replies:
            self._transport.write(b"".join(replies))

    def _take_chunk(self, position: int, replies: list[bytes]) -> int:
        taken = min(self._chunk, len(self._buffer) - position)
        if self._record:
            self._content += self._buffer[position : position + taken]
        self._chunk -= taken
        if not self._chunk:
            if self._last:
                self._arrived()
            self._last = False
            replies.append(b"250 2.0.0 Ok: queued\r\n")
        return position + taken

    def _end_of_data(self, position: int) -> int:
        """Where the line of the dot begins (with the line end before it); -1 if it has not come."""
        if self._buffer.startswith(b".\r\n", position) and not self._scanned:
            return position - 2
        return self._buffer.find(_END, position + self._scanned)

    def _take_data(self, position: int, end: int, replies: list[bytes]) -> int:
        if self._record:
            self._content += self._buffer[position : end + 2].replace(b"\r\n..", b"\r\n.")
        self._in_data = False
        self._scanned = 0
        self._arrived()
        replies.append(b"250 2.0.0 Ok: queued\r\n")
        return end + len(_END)

    def _arrived(self) -> None:
        book = self._book
        book.times.append(time.monotonic())
        book.recipients.append(b"\n".join(self._recipients))
        if self._record:
            book.digests.append(digest(bytes(self._content)))
            self._content.clear()
        self._recipients.clear()

    def _mail(self, line: bytes) -> bytes:  # noqa: ARG002 - as every verb
        self._recipients.clear()
        return b"250 2.1.0 Ok\r\n"

    def _rcpt(self, line: bytes) -> bytes:
        self._recipients.append(line[line.find(b"<") + 1 : line.find(b">")])
        return b"250 2.1.5 Ok\r\n"

    def _data(self, line: bytes) -> bytes:  # noqa: ARG002 - as every verb
        if not self._recipients:
            return b"554 5.5.1 No valid recipients\r\n"
        self._in_data = True
        return b"354 Go ahead\r\n"

    def _bdat(self, line: bytes) -> bytes:
        words = line.split()
        self._chunk = int(words[1])
        self._last = len(words) > 2
        return b"" if self._chunk or self._last else b"250 2.0.0 Ok\r\n"

    def _rset(self, line: bytes) -> bytes:  # noqa: ARG002 - as every verb
        self._recipients.clear()
        self._content.clear()
        return b"250 2.0.0 Ok\r\n"

    def _quit(self, line: bytes) -> bytes:  # noqa: ARG002 - as every verb
        asyncio.get_running_loop().call_soon(self._transport.close)
        return b"221 2.0.0 Bye\r\n"


def _unknown(line: bytes) -> bytes:  # noqa: ARG001 - as every verb
    return b"500 5.5.2 Unknown command\r\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offer", default=",".join(ALL), help="of %(default)s, what to offer")
    parser.add_argument("--record", action="store_true", help="keep digests of the contents")
    given = parser.parse_args(arguments)
    offered = [word for word in given.offer.split(",") if word]
    if unknown := set(offered) - set(ALL):
        parser.error(f"--offer: {', '.join(sorted(unknown))} is none of {', '.join(ALL)}")
    names = ["sink", *map(str.upper, offered), "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", f"SIZE {_SIZE}"]
    extensions = b"".join(b"250-%s\r\n" % name.encode() for name in names[:-1]) + b"250 %s\r\n" % names[-1].encode()
    book = _Book()
    asyncio.run(serve(lambda: _Reception(book, b"220 sink ESMTP\r\n", extensions, given.record), book.answer))


if __name__ == "__main__":
    main()
