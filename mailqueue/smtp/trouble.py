"""What an exception from opening a connection says about the relay."""

from __future__ import annotations

import smtplib
import socket
import ssl

from mailqueue.errors import RelayTrouble
from mailqueue.outcome import Verdict
from mailqueue.smtp.classify import Stage, classify
from mailqueue.smtp.reply import Reply, reply_text

__all__ = ["may_pass", "trouble_of", "trouble_with"]

# The exceptions of smtplib that tell the stage better than the caller can.
_STAGES: dict[type[Exception], Stage] = {
    smtplib.SMTPConnectError: Stage.GREETING,
    smtplib.SMTPHeloError: Stage.EHLO,
    smtplib.SMTPAuthenticationError: Stage.AUTH,
}


def trouble_with(reply: Reply, stage: Stage, *, reconnect: bool) -> RelayTrouble:
    """The trouble that ``reply`` to ``stage`` is."""
    return RelayTrouble(f"{stage}: {reply}", stage=stage, code=reply.code, text=reply.text, reconnect=reconnect)


def trouble_of(error: Exception, stage: Stage = Stage.CONNECT) -> RelayTrouble:
    """The trouble that opening a connection ended with: ``error``, raised by a backend's ``open()`` at ``stage``.

    ``reconnect`` is set for what may pass within seconds: a refused or dropped connection, a 4yz reply. It is not for
    what a human must mend (credentials, certificates, names), and not for a relay that does not answer in time.
    """
    if isinstance(error, RelayTrouble):
        return error
    stage = _STAGES.get(type(error), stage)
    if isinstance(error, smtplib.SMTPResponseException):
        reply = Reply(error.smtp_code, reply_text(error.smtp_error))
        meaning = classify(reply, stage)
        passing = meaning.verdict is Verdict.DEFERRED and not meaning.surprise
        return trouble_with(reply, stage, reconnect=passing)
    if stage is Stage.CONNECT and isinstance(error, smtplib.SMTPServerDisconnected):
        stage = Stage.GREETING  # what fails earlier is no exception of smtplib's
    if isinstance(error, ssl.SSLError):
        stage = Stage.STARTTLS  # the handshake, whichever way it was begun
    return RelayTrouble(
        f"{stage}: {type(error).__name__}: {error}", stage=stage, text=str(error), reconnect=may_pass(error)
    )


def may_pass(error: Exception) -> bool:
    """Whether a new connection within seconds may fare better than the one that ended with ``error``."""
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return not isinstance(error.__cause__ or error.__context__, TimeoutError)
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, smtplib.SMTPException | TimeoutError | FileNotFoundError | PermissionError):
        return False
    return isinstance(error, OSError)
