"""The exception that ``smtplib.SMTP.sendmail`` would have raised, for callers who expect that."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

from mailqueue.smtp.classify import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.smtp.reply import Reply
    from mailqueue.smtp.session import Answer

__all__ = ["as_smtplib"]


def as_smtplib(answer: Answer, sender: str, refused: Mapping[str, Reply]) -> smtplib.SMTPException:
    """The exception for a message that nobody gets, the last of its transactions having ended with ``answer``.

    ``refused`` are the recipients who were refused one by one.
    """
    reply = answer.reply
    if reply is None:
        cause = answer.trouble.__cause__ if answer.trouble is not None else None
        if isinstance(cause, smtplib.SMTPException):
            return cause
        return smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
    if answer.stage is Stage.MAIL:
        return smtplib.SMTPSenderRefused(*_pair(reply), sender)
    if answer.stage is Stage.RCPT:
        replies = refused or {answer.recipient: reply}
        return smtplib.SMTPRecipientsRefused({address: _pair(each) for address, each in replies.items()})
    return smtplib.SMTPDataError(*_pair(reply))


def _pair(reply: Reply) -> tuple[int, bytes]:
    return reply.code, reply.text.encode()
