"""What a message carries beside its body: attachments and alternative bodies, as named tuples."""

from __future__ import annotations

import mimetypes
import re
from typing import Any, Final, NamedTuple

__all__ = [
    "DEFAULT_ATTACHMENT_MIME_TYPE",
    "FILE_TYPE",
    "TEXT_TYPE",
    "EmailAlternative",
    "EmailAttachment",
    "describe",
]

#: The type of what has none and whose file name tells none.
DEFAULT_ATTACHMENT_MIME_TYPE: Final = "application/octet-stream"

#: Types of files that become base64 whatever is in them. Text is another case; messages and parts in parts are a third.
FILE_TYPE: Final = re.compile(r"(?:application|audio|font|image|video)/[a-z0-9][a-z0-9.+-]*", re.ASCII)
TEXT_TYPE: Final = re.compile(r"text/[a-z0-9][a-z0-9.+-]*", re.ASCII)


class EmailAlternative(NamedTuple):
    """Another version of the body."""

    content: Any
    mimetype: Any


class EmailAttachment(NamedTuple):
    """An attached file."""

    filename: Any
    content: Any
    mimetype: Any


def describe(filename: Any, content: Any = None, mimetype: Any = None) -> EmailAttachment:
    """The attachment with its type: as given, else guessed from the file name, else application/octet-stream.

    Text given as bytes is decoded as UTF-8; if that fails it is application/octet-stream, the bytes unchanged.
    Raises ValueError if there is no content, or if ``mimetype`` is none.
    """
    if content is None:
        raise ValueError("content must be provided.")
    if not mimetype:
        guessed = mimetypes.guess_type(filename)[0] if filename else None
        mimetype = guessed or DEFAULT_ATTACHMENT_MIME_TYPE
    if "/" not in mimetype:
        raise ValueError(f'Invalid MIME type "{mimetype}"; it has no slash.')
    if isinstance(content, bytes) and mimetype.startswith("text/"):
        try:
            content = content.decode()
        except UnicodeDecodeError:
            mimetype = DEFAULT_ATTACHMENT_MIME_TYPE
    return EmailAttachment(filename, content, mimetype)
