"""Both directions of a connection at once: what the network takes is written, what has arrived is read, nothing waits.

Were one side to write without reading, and so the other, both would wait for ever as soon as the buffers between them
are full (RFC 2920 section 3.1). Leaves what the replies mean to others.
"""

from __future__ import annotations

import contextlib
import select
import smtplib
import ssl
from collections import deque
from typing import TYPE_CHECKING

from mailqueue.smtp.connection import reader_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Duplex"]

_BLOCK = 262144  # octets offered to the network at a time
#: ... and to TLS: the most that a record holds (RFC 8446 section 5.1). Of more, OpenSSL sends some whole records before it
#: says that it would have to wait; the relay has these then, and nobody has counted them. Part of a record is nothing.
_RECORD = 16384
_JOIN = 65536  # below that, copying buffers into one costs less than a call to the system for each


class Duplex:
    """A connection for as long as it is written and read at once; ``close()`` gives it back as it was.

    ``queued`` and ``handed`` count octets since the beginning: those to be written, and those of them that the network
    (the system, or TLS) has taken. ``usual`` is the timeout that the socket came with.
    """

    def __init__(self, connection: smtplib.SMTP) -> None:
        self._reader = reader_of(connection)
        assert connection.sock is not None
        self._sock = connection.sock
        self._tls = self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        self._block = _BLOCK if self._tls is None else _RECORD
        self.usual = self._sock.gettimeout()
        self._sock.settimeout(0)
        self._poll = select.poll() if hasattr(select, "poll") else None  # Windows has none
        self._out: deque[memoryview] = deque()
        self._writing_wants_reading = False  # TLS may have something of its own to hear first
        self._deaf: OSError | None = None  # writing has failed: the relay takes nothing more
        self._ended: OSError | None = None  # reading has failed
        self.queued = 0
        self.handed = 0

    def put(self, buffers: Iterable[bytes]) -> None:
        """Queue ``buffers``, small ones made one, and write what the network takes at once."""
        small: list[bytes] = []
        for buffer in buffers:
            self.queued += len(buffer)
            if len(buffer) < _JOIN:
                small.append(buffer)
                continue
            if small:
                self._out.append(memoryview(b"".join(small)))
                small = []
            self._out.append(memoryview(buffer))
        if small:
            self._out.append(memoryview(b"".join(small)))
        self._push()

    @property
    def busy(self) -> bool:
        """Whether something is queued that was not taken yet."""
        return bool(self._out)

    def turn(self, timeout: float) -> list[tuple[int, bytes]]:
        """Write and read what can be, and give the replies that are whole; waits at most ``timeout`` s for any.

        Raises smtplib.SMTPServerDisconnected when the connection has ended, and everything that came was given.
        """
        self._push()
        if self._ended is None and self._ready(timeout):
            self._read()
        replies = []
        while (reply := self._reader.take()) is not None:
            replies.append(reply)
            if reply[0] < 0:  # it is none, and so is all that follows
                break
        if not replies and self._ended is not None:
            error = self._deaf or self._ended
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        return replies

    def drop(self) -> None:
        """Forget what was not taken, and write nothing more."""
        self._out.clear()

    def close(self) -> None:
        """Let the socket block again. What was not taken is forgotten."""
        self.drop()
        with contextlib.suppress(OSError):
            self._sock.settimeout(self.usual)

    def _push(self) -> None:
        self._writing_wants_reading = False
        try:
            while self._out:
                sent = self._sock.send(self._out[0][: self._block])
                self.handed += sent
                if sent == len(self._out[0]):
                    self._out.popleft()
                else:
                    self._out[0] = self._out[0][sent:]
        except ssl.SSLWantReadError:
            self._writing_wants_reading = True
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._deaf = error
            self._out.clear()

    def _read(self) -> None:
        try:
            while self._reader.receive():
                if self._tls is None or not self._tls.pending():
                    break
        except OSError as error:
            self._ended = error

    def _ready(self, timeout: float) -> bool:
        """Wait until something can be read, or written if there is something; whether it may be readable."""
        if self._tls is not None and self._tls.pending():
            return True
        self._reader.acknowledge()  # once a turn, when nothing is left to write that would carry it along
        writing = bool(self._out) and not self._writing_wants_reading
        if self._poll is None:
            return bool(select.select([self._sock], [self._sock] if writing else [], [], max(0.0, timeout))[0])
        self._poll.register(self._sock, select.POLLIN | (select.POLLOUT if writing else 0))
        return any(event & ~select.POLLOUT for _, event in self._poll.poll(max(0.0, timeout) * 1000))
