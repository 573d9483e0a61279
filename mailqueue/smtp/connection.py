"""smtplib's connections, within bounds: every reply is read by a ``ReplyReader``, and XOAUTH2 is spoken.

smtplib does the greeting, EHLO, STARTTLS, AUTH and QUIT; the transactions are ``session``'s.
"""

from __future__ import annotations

import smtplib
from typing import Any

from mailqueue.smtp.reader import ReplyReader
from mailqueue.smtp.timeouts import Timeouts

__all__ = ["Connection", "TLSConnection", "read_reply", "reader_of"]


class Connection(smtplib.SMTP):
    """An ``smtplib.SMTP`` whose replies are bounded. ``timeouts`` sets one for each stage; ``timeout`` one for all."""

    def __init__(
        self, host: str = "", port: int = 0, *args: Any, timeouts: Timeouts | None = None, **kwargs: Any
    ) -> None:
        if timeouts is None:
            timeouts = Timeouts.uniform(kwargs.get("timeout"))
        else:
            kwargs["timeout"] = timeouts.connect
        self.timeouts = timeouts
        self._reply_timeout = timeouts.command
        super().__init__(host, port, *args, **kwargs)

    def getreply(self) -> tuple[int, bytes]:
        """The next reply; -1 is the code of what is none. Raises SMTPServerDisconnected, the connection closed."""
        try:
            return read_reply(self, self._reply_timeout)
        except smtplib.SMTPServerDisconnected:
            self.close()
            raise

    def send(self, s: Any) -> None:
        """As smtplib's, but a connection that takes nothing more stays open: the relay may have said why.

        Raises SMTPServerDisconnected.
        """
        if self.debuglevel > 0:
            self._print_debug("send:", repr(s))  # type: ignore[attr-defined]
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        octets = s.encode(self.command_encoding) if isinstance(s, str) else s
        try:
            self.sock.sendall(octets)
        except OSError as error:
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command, unless the relay has said more than it was asked: that would be taken for the reply to it.

        Raises SMTPServerDisconnected, the connection closed.
        """
        if isinstance(self.file, ReplyReader) and self.file.pending:
            self.close()
            raise smtplib.SMTPServerDisconnected("the relay spoke out of turn")
        super().putcmd(cmd, args)

    def login_xoauth2(self, user: str, token: str) -> None:
        """Log in with an OAuth 2.0 access token (Google's and Microsoft's XOAUTH2).

        Raises smtplib.SMTPNotSupportedError if the relay does not offer it, SMTPAuthenticationError if it refuses.
        """
        self.ehlo_or_helo_if_needed()
        if "XOAUTH2" not in self.esmtp_features.get("auth", "").upper().split():
            raise smtplib.SMTPNotSupportedError("XOAUTH2 not offered by server.")

        def answer(challenge: bytes | None = None) -> str:
            # A challenge tells why the token is refused; an empty answer to it brings the refusal itself.
            return f"user={user}\x01auth=Bearer {token}\x01\x01" if challenge is None else ""

        self.auth("XOAUTH2", answer)

    def quit(self) -> tuple[int, bytes]:
        """QUIT, and close. Waits no longer for the answer than the timeouts say."""
        self._reply_timeout = self.timeouts.quit
        return super().quit()


class TLSConnection(Connection, smtplib.SMTP_SSL):
    """The same, with TLS from the first byte."""


def reader_of(connection: smtplib.SMTP) -> ReplyReader:
    """The reader of a connection; takes over reading from any ``smtplib.SMTP``. Raises SMTPServerDisconnected."""
    if connection.sock is None:
        raise smtplib.SMTPServerDisconnected("please run connect() first")
    reader = connection.file  # None when it was just connected, or has just begun to speak TLS
    if not isinstance(reader, ReplyReader):
        if reader is not None:
            reader.close()
        reader = connection.file = ReplyReader(connection.sock)
    return reader


def read_reply(connection: smtplib.SMTP, timeout: float | None) -> tuple[int, bytes]:
    """The next reply, within ``timeout`` s, as ``ReplyReader.read`` gives it. Shows it if ``set_debuglevel`` says so."""
    code, text = reader_of(connection).read(timeout)
    if connection.debuglevel > 0:
        connection._print_debug(f"reply: retcode ({code}); Msg: {text!a}")  # type: ignore[attr-defined] # noqa: SLF001 - smtplib's
    return code, text
