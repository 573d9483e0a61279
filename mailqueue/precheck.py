"""Says at a glance that a message can be sent, so that most need not be built to find out (100 us and more).

Sound, not complete: a message that passes can be rendered, and its addresses are good; of the others nothing is said,
and they are built.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mailqueue.mail.address import PLAIN_NAME
from mailqueue.mail.attachments import FILE_TYPE, TEXT_TYPE
from mailqueue.mail.headers import ADDRESS_HEADERS, is_line

__all__ = ["passes"]

_ATOM = r"[A-Za-z0-9_+'-]+"
_LABEL = r"[A-Za-z0-9-]{1,63}"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
#: An address, alone or after a name.
_MAILBOX: Final = re.compile(rf"{_ADDRESS}|{PLAIN_NAME} <{_ADDRESS}>")
_FIELD: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_TOKEN: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)


def passes(message: Any) -> bool:
    """Whether ``message``, of our classes or Django's and in UTF-8, is surely one that can be sent."""
    return (
        _is_line(message.subject)
        and isinstance(message.body, str)
        and _is_mailbox(message.from_email)
        and all(map(_are_mailboxes, (message.to, message.cc, message.bcc, message.reply_to)))
        and _is_token(message.content_subtype)
        and all(map(_is_field, message.extra_headers.items()))
        and all(map(_is_file, message.attachments or ()))
        and _is_token(getattr(message, "mixed_subtype", "mixed"))  # gone from Django 6.0
        and all(map(_is_text, getattr(message, "alternatives", None) or ()))
        and _is_token(getattr(message, "alternative_subtype", "alternative"))
    )


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and is_line(value)


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _is_mailbox(entry: Any) -> bool:
    return isinstance(entry, str) and _MAILBOX.fullmatch(entry) is not None


def _are_mailboxes(entries: Any) -> bool:
    return isinstance(entries, list) and all(map(_is_mailbox, entries))


def _is_field(field: tuple[Any, Any]) -> bool:
    name, value = field
    return (
        isinstance(name, str)
        and _FIELD.fullmatch(name) is not None
        and name.lower() not in ADDRESS_HEADERS
        and _is_line(value)
    )


def _is_text(alternative: Any) -> bool:
    if not (isinstance(alternative, tuple) and len(alternative) == 2):
        return False
    content, mimetype = alternative
    return isinstance(content, str) and isinstance(mimetype, str) and TEXT_TYPE.fullmatch(mimetype) is not None


def _is_file(attachment: Any) -> bool:
    if not (isinstance(attachment, tuple) and len(attachment) == 3):
        return False
    name, content, mimetype = attachment
    if not (isinstance(mimetype, str) and (name is None or _is_line(name))):
        return False
    if FILE_TYPE.fullmatch(mimetype):
        return isinstance(content, bytes)
    return isinstance(content, str) and TEXT_TYPE.fullmatch(mimetype) is not None
