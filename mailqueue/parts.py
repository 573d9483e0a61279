"""Attachments and alternative bodies as data, and back."""

from __future__ import annotations

import email.message
import mimetypes
from typing import TYPE_CHECKING, Any

import msgspec

from mailqueue.blobs import Blob, Content, Luggage, restore
from mailqueue.errors import InvalidMessage, WireError
from mailqueue.extras import text
from mailqueue.mail.attachments import DEFAULT_ATTACHMENT_MIME_TYPE, EmailAlternative, EmailAttachment
from mailqueue.mimetree import MimeTree, pack_mime, unpack_mime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Part", "pack_alternative", "pack_attachment", "unpack_alternative", "unpack_attachment"]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An attachment or alternative: the three values of Django's tuple, or a MIME object in their place (``bare``)."""

    name: str | None = None
    type: str | None = None
    content: Content | MimeTree
    bare: bool = False

    def blobs(self) -> Iterator[Blob]:
        """What is stored elsewhere of it."""
        if isinstance(self.content, Blob):
            yield self.content
        elif isinstance(self.content, MimeTree):
            yield from self.content.blobs()


def pack_attachment(entry: Any, luggage: Luggage) -> Part:
    """Return an entry of ``message.attachments`` as data; raises InvalidMessage for content that is none."""
    if isinstance(entry, email.message.Message):
        return Part(content=pack_mime(entry, luggage), bare=True)
    name, content, mimetype = (*entry, None)[:3]
    if name is not None:
        name = text(name)
    if not mimetype:  # here, for the worker's host may know other types
        mimetype = (mimetypes.guess_type(name)[0] if name else None) or DEFAULT_ATTACHMENT_MIME_TYPE
    return Part(name=name, type=text(mimetype), content=_pack_content(content, text(mimetype), luggage))


def pack_alternative(entry: Any, luggage: Luggage) -> Part:
    """Return an entry of ``message.alternatives`` as data; raises InvalidMessage for content that is none."""
    content, mimetype = entry
    return Part(type=text(mimetype), content=_pack_content(content, text(mimetype), luggage))


def unpack_attachment(part: Part, blobs: Mapping[str, bytes]) -> Any:
    """Return what ``pack_attachment`` was given; raises WireError if a blob is lacking."""
    content = _unpack_content(part, blobs)
    return content if part.bare else EmailAttachment(part.name, content, part.type)


def unpack_alternative(part: Part, blobs: Mapping[str, bytes]) -> EmailAlternative:
    """Return what ``pack_alternative`` was given; raises WireError if a blob is lacking."""
    return EmailAlternative(_unpack_content(part, blobs), part.type)


def _pack_content(content: Any, mimetype: str, luggage: Luggage) -> Content | MimeTree:
    if isinstance(content, str):
        return luggage.check_in(text(content))
    if isinstance(content, bytes | bytearray | memoryview):
        octets = bytes(content)
        if not mimetype.startswith(("text/", "message/")):
            luggage.size += len(octets) * 21 // 57  # base64: 78 octets a line, of 57 (RFC 2045 section 6.8)
        return luggage.check_in(octets)
    if isinstance(content, email.message.Message):
        return pack_mime(content, luggage)
    if callable(getattr(content, "message", None)):  # a mail message, attached as message/rfc822
        return pack_mime(content.message(), luggage)
    if mimetype.startswith("text/") or callable(getattr(content, "encode", None)):  # lazy text has str's methods
        return luggage.check_in("" if content is None else text(content))
    raise InvalidMessage(
        f"an attachment of type {mimetype} has a {type(content).__name__} for content: give str, bytes or a message"
    )


def _unpack_content(part: Part, blobs: Mapping[str, bytes]) -> Any:
    if isinstance(part.content, MimeTree):
        return unpack_mime(part.content, blobs)
    if part.bare:
        raise WireError("a MIME object on the wire is none")
    return restore(part.content, blobs)
