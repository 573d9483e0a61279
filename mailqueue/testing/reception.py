"""The server's side of one SMTP connection, as fast as Python can: takes every message and hands on what it got.

For servers that must keep up with a whole fleet of workers; the ``inbox`` says more, and takes longer. Offers
PIPELINING and CHUNKING, so that a client may send whole batches ahead of their answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["EXTENSIONS", "Reception", "answer_to_ehlo"]

#: What the answer to EHLO can list of the ways to send ahead (RFC 2920, RFC 3030).
EXTENSIONS: Final = ("pipelining", "chunking")
_SIZE: Final = 64 * 1024 * 1024  # octets; announced, not enforced
_END: Final = b"\r\n.\r\n"
_TAKEN: Final = b"250 2.0.0 Ok: queued\r\n"
_NOBODY: Final = b"554 5.5.1 No valid recipients\r\n"
_REFUSED: Final = b"550 5.1.1 No such user here\r\n"


def answer_to_ehlo(name: str, offer: Sequence[str] = EXTENSIONS) -> bytes:
    """The lines of the answer to EHLO; 8BITMIME, SMTPUTF8, enhanced status codes and SIZE are always offered."""
    names = [name, *map(str.upper, offer), "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", f"SIZE {_SIZE}"]
    return b"".join(b"250-%s\r\n" % word.encode() for word in names[:-1]) + b"250 %s\r\n" % names[-1].encode()


class Reception(asyncio.Protocol):
    """One connection. All commands that have come are answered with one write.

    Args:
        take: Gets each message before its answer is written: its recipients, one a line, and its content.
        ehlo: The answer to EHLO.
        keep: Whether the content is wanted; without, ``take`` gets none, and nothing is copied.
        refuses: Whether a recipient is refused for good (550 5.1.1).
        made: Called once, when the connection is made.
    """

    def __init__(
        self,
        take: Callable[[bytes, bytes], None],
        ehlo: bytes,
        *,
        keep: bool = True,
        refuses: Callable[[bytes], bool] | None = None,
        made: Callable[[], None] = lambda: None,
    ) -> None:
        self._take = take
        self._keep = keep
        self._refuses = refuses
        self._made = made
        self._buffer = bytearray()
        self._recipients: list[bytes] = []
        self._content = bytearray()  # of the chunks so far
        self._chunk = 0  # octets of the chunk that are still to come
        self._last = False  # the chunk is the last one
        self._in_data = False
        self._scanned = 0  # of the buffer, without the end of the data
        self._verbs: dict[bytes, Callable[[bytes], bytes]] = {
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"EHLO": lambda _: ehlo,
            b"HELO": lambda _: b"250 Ok\r\n",
            b"RSET": self._rset,
            b"NOOP": lambda _: b"250 2.0.0 Ok\r\n",
            b"QUIT": self._quit,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet (RFC 5321, 3.1)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._made()
        transport.write(b"220 ready ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Take all that is complete, and answer it."""
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
        if self._keep:
            self._content += memoryview(self._buffer)[position : position + taken]
        self._chunk -= taken
        if not self._chunk:
            replies.append(self._arrived() if self._last else b"250 2.0.0 Ok\r\n")
            self._last = False
        return position + taken

    def _end_of_data(self, position: int) -> int:
        """Where the line of the dot begins (with the line end before it); -1 if it has not come."""
        if self._buffer.startswith(b".\r\n", position) and not self._scanned:
            return position - 2
        return self._buffer.find(_END, position + self._scanned)

    def _take_data(self, position: int, end: int, replies: list[bytes]) -> int:
        if self._keep:
            self._content += self._buffer[position : end + 2].replace(b"\r\n..", b"\r\n.")
            if self._content.startswith(b".."):
                del self._content[:1]
        self._in_data = False
        self._scanned = 0
        replies.append(self._arrived())
        return end + len(_END)

    def _arrived(self) -> bytes:
        if not self._recipients:
            self._content.clear()
            return _NOBODY
        self._take(b"\n".join(self._recipients), bytes(self._content))
        self._content.clear()
        self._recipients.clear()
        return _TAKEN

    def _mail(self, line: bytes) -> bytes:  # noqa: ARG002 - as every verb
        self._recipients.clear()
        return b"250 2.1.0 Ok\r\n"

    def _rcpt(self, line: bytes) -> bytes:
        recipient = line[line.find(b"<") + 1 : line.find(b">")]
        if self._refuses is not None and self._refuses(recipient):
            return _REFUSED
        self._recipients.append(recipient)
        return b"250 2.1.5 Ok\r\n"

    def _data(self, line: bytes) -> bytes:  # noqa: ARG002 - as every verb
        if not self._recipients:
            return _NOBODY
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
