"""Reading replies off a socket, within bounds: length and number of lines, total size, and time for the whole reply.

``smtplib`` bounds a line alone: a relay that sends continuation lines for ever, or a byte a minute, keeps it for ever.
"""

from __future__ import annotations

import contextlib
import re
import select
import smtplib
import socket
import ssl
import time

__all__ = ["GARBAGE", "ReplyReader"]

#: The code of what is no reply, as smtplib has it.
GARBAGE = -1

_LINE_OCTETS = 8192  # smtplib's _MAXLINE; RFC 5321 section 4.5.3.1.5 says 512
_REPLY_LINES = 256
_REPLY_OCTETS = 65536
_BLOCK = 4096
_GULP = 65536  # octets read at once while many replies are expected
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux
_ENDLESS = b"a reply without end"

# RFC 5321 section 4.2; the text may hold anything, and a bare LF may end a line, as smtplib has it.
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


class ReplyReader:
    """The receiving side of one connection. Stands where smtplib keeps its file object, so it can be used as that."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        with contextlib.suppress(OSError):  # some other kind of socket
            # What is written is whole: Nagle's algorithm would keep its end back until the relay has acknowledged the
            # rest, which it may do 40 ms later.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._lines: list[bytes] = []  # of a reply that is not whole yet
        self._size = 0  # its octets
        self._broken = False

    @property
    def pending(self) -> bool:
        """Whether octets have arrived that no command has asked for yet."""
        return bool(self._buffer or self._lines)

    def unasked(self) -> bool:
        """Whether the relay has said something that no command asked for, or has hung up. Does not wait."""
        if self.pending or self._broken:
            return True
        if not _may_be_readable(self._sock):
            return False
        usual = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            self._buffer += self._sock.recv(_BLOCK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True  # reading it will tell
        finally:
            self._sock.settimeout(usual)
        return True

    def arrives(self, timeout: float) -> bool:
        """Whether something may be read within ``timeout`` s."""
        return self.pending or self._broken or _may_be_readable(self._sock, timeout)

    def read(self, timeout: float | None) -> tuple[int, bytes]:
        """The next reply: its code, and its lines without the codes, joined by LF.

        ``timeout`` is in seconds and for the whole reply; None goes by the socket's own. What is no reply, or too much
        of one, has the code ``GARBAGE``, and so has everything after it. Raises smtplib.SMTPServerDisconnected when
        the connection ends or the time is over (its cause is then a TimeoutError).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while (reply := self.take()) is None:
                self._fill(deadline)
            if timeout is not None:
                self._sock.settimeout(timeout)
        except OSError as error:
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        return reply

    def readline(self, limit: int) -> bytes:
        """At most ``limit`` octets of the next line, with its end: for classes that still read as ``smtplib`` does."""
        while (end := self._buffer.find(b"\n") + 1) == 0 and len(self._buffer) < limit:
            octets = self._sock.recv(_BLOCK)
            if not octets:
                break
            self._buffer += octets
        size = min(end or len(self._buffer), limit)
        line = bytes(self._buffer[:size])
        del self._buffer[:size]
        return line

    def close(self) -> None:
        """Forget what was not read. The socket is its owner's to close."""
        self._buffer.clear()
        self._lines.clear()

    def take(self) -> tuple[int, bytes] | None:
        """The next reply, as ``read`` gives it, if the whole of it has arrived. Does not wait."""
        if self._broken:
            return GARBAGE, b"after what was no reply"
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            reply = self._line(line)
            if reply is not None:
                return reply
        return self._garbage(_ENDLESS) if len(self._buffer) > _LINE_OCTETS else None

    def receive(self) -> bool:
        """Read what has arrived off a socket that does not block; whether that was anything. Raises OSError."""
        try:
            octets = self._sock.recv(_GULP)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not octets:
            raise ConnectionError("end of file")
        self._buffer += octets
        return True

    def acknowledge(self) -> None:
        """Have what arrives acknowledged at once; the system forgets this whenever something is read or written.

        Relays that leave Nagle's algorithm on send no further reply before that, for 40 ms as a rule. One that closes
        meanwhile, with commands still unread, never sends it: a 421 is lost, and nobody knows what became of the rest.
        """
        if _QUICKACK is not None:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _line(self, line: bytes) -> tuple[int, bytes] | None:
        """One more line; the reply if that was its last one."""
        self._size += len(line)
        if len(line) > _LINE_OCTETS or len(self._lines) >= _REPLY_LINES or self._size > _REPLY_OCTETS:
            return self._garbage(_ENDLESS)
        line = line.rstrip(b"\r")
        match = _LINE.fullmatch(line)
        if match is None:
            return self._garbage(line[:80])
        code, more, text = match.groups(b"")
        text = text.strip(b" \t\r\n")
        if more == b"-":
            self._lines.append(text)
            return None
        if self._lines:
            text = b"\n".join((*self._lines, text))
            self._lines.clear()
        self._size = 0
        return int(code), text

    def _garbage(self, text: bytes) -> tuple[int, bytes]:
        self._broken = True
        return GARBAGE, text

    def _fill(self, deadline: float | None) -> None:
        if deadline is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(remaining)
        octets = self._sock.recv(_BLOCK)
        if not octets:
            raise ConnectionError("end of file")
        self._buffer += octets


def _may_be_readable(sock: socket.socket, timeout: float = 0) -> bool:
    """Whether trying to read is worth its 4 us; asking the system takes 1 (measured)."""
    if not hasattr(select, "poll") or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
        return True  # no poll on Windows; and TLS may have read more from the system than it has handed out
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
