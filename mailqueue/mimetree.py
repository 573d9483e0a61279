"""MIME objects of the standard library as data: attached parts and messages that must survive byte for byte.

Carries the headers and payloads that a generator would write, not the text that it would make of them, so that a
part renders in the worker just as it would have in the caller.
"""

from __future__ import annotations

import email.message
import email.policy
from email.header import Header
from email.mime.base import MIMEBase
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from mailqueue.blobs import Blob, Content, Luggage, restore
from mailqueue.errors import InvalidMessage, WireError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Message: TypeAlias = email.message.Message[Any, Any]

__all__ = ["MimeHeader", "MimeTree", "pack_mime", "unpack_mime"]

#: Levels of nesting; the standard library's generator recurses, and so do we.
_MAX_DEPTH: Final = 50


class MimeHeader(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One header field as it is stored in a message.

    ``form``: ``""`` is text as it stands; ``octets`` is text with undecodable octets in it, each as the character of
    its number; ``parsed`` is a structured value of the ``email.policy`` kind.
    """

    name: str
    value: str
    form: Literal["", "octets", "parsed"] = ""


class MimeTree(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="is", tag="mime"):
    """One MIME object with its parts. ``kind`` is the class that it comes back as.

    A payload of Octets is text with undecodable octets; there is no other use for it here, for MIME objects hold
    binary content in encoded form.
    """

    kind: Literal["base", "part", "email", "message"]
    headers: tuple[MimeHeader, ...] = ()
    payload: Content | None = None
    parts: tuple[MimeTree, ...] | None = None
    preamble: Content | None = None
    epilogue: Content | None = None
    default_type: str = "text/plain"

    def blobs(self) -> Iterator[Blob]:
        """The large payloads in it."""
        for content in (self.payload, self.preamble, self.epilogue):
            if isinstance(content, Blob):
                yield content
        for part in self.parts or ():
            yield from part.blobs()


class _BareMIMEBase(MIMEBase):
    """A MIMEBase as the parser would make it: without the headers that its constructor sets."""

    def __init__(self) -> None:
        email.message.Message.__init__(self)


def pack_mime(part: Message, luggage: Luggage, *, depth: int = 0) -> MimeTree:
    """Return ``part`` as data, its large payloads checked in to ``luggage``.

    Raises:
        InvalidMessage: for a part that could not be rendered either.
    """
    if depth > _MAX_DEPTH:
        raise InvalidMessage(f"a MIME part is nested deeper than {_MAX_DEPTH} levels")
    # What generators read. get_payload() would decode undecodable octets by the part's charset.
    held: Any = part._payload  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    inner = [held] if isinstance(held, email.message.Message) else held
    parts = None
    if isinstance(inner, list):
        parts, held = tuple(pack_mime(one, luggage, depth=depth + 1) for one in inner), None
    return MimeTree(
        kind=_kind(part),
        headers=tuple(_pack_header(name, value) for name, value in part.raw_items()),
        payload=_pack_text(held, luggage, part),
        parts=parts,
        preamble=_pack_text(part.preamble, luggage, part),
        epilogue=_pack_text(part.epilogue, luggage, part),
        default_type=part.get_default_type(),
    )


def unpack_mime(tree: MimeTree, blobs: Mapping[str, bytes], *, depth: int = 0) -> Message:
    """Return the MIME object that ``tree`` was made from; raises WireError if a blob is lacking."""
    if depth > _MAX_DEPTH:
        raise WireError(f"a MIME part is nested deeper than {_MAX_DEPTH} levels")
    part = _new(tree.kind)
    for header in tree.headers:
        _set_header(part, header)
    if tree.parts is not None:
        part.set_payload([unpack_mime(one, blobs, depth=depth + 1) for one in tree.parts])
    else:
        held: Any = _unpack_text(tree.payload, blobs)  # None is a payload: that of no content
        part.set_payload(held)
    part.preamble = _unpack_text(tree.preamble, blobs)
    part.epilogue = _unpack_text(tree.epilogue, blobs)
    part.set_default_type(tree.default_type)
    return part


def _kind(part: Message) -> Literal["base", "part", "email", "message"]:
    if isinstance(part, email.message.EmailMessage):
        return "email"
    if isinstance(part, email.message.MIMEPart):
        return "part"
    return "base" if isinstance(part, MIMEBase) else "message"


def _new(kind: str) -> Message:
    if kind == "email":
        return email.message.EmailMessage(email.policy.default)
    if kind == "part":
        return email.message.MIMEPart(email.policy.default)
    return _BareMIMEBase() if kind == "base" else email.message.Message()


def _pack_text(text: Any, luggage: Luggage, part: Message) -> Content | None:
    if text is None:
        return None
    try:
        octets: bytes = text.encode("ascii", "surrogateescape")
    except (AttributeError, UnicodeEncodeError):
        kind = part.get_content_type()
        raise InvalidMessage(f"a MIME part of type {kind} cannot be rendered: neither ASCII nor encoded") from None
    return luggage.check_in(octets.decode() if octets.isascii() else octets)


def _unpack_text(content: Content | None, blobs: Mapping[str, bytes]) -> str | None:
    if content is None:
        return None
    held = restore(content, blobs)
    return held if isinstance(held, str) else held.decode("ascii", "surrogateescape")


def _pack_header(name: str, value: Any) -> MimeHeader:
    if isinstance(value, Header):
        # As the generator would fold it; text that is folded already stays so.
        return MimeHeader(name, value.encode(linesep="\n"))
    text = str(value)
    if hasattr(value, "fold"):
        return MimeHeader(name, text, "parsed")
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return MimeHeader(name, text)
    try:
        return MimeHeader(name, text.encode("ascii", "surrogateescape").decode("latin-1"), "octets")
    except UnicodeEncodeError:
        raise InvalidMessage(f"a MIME part cannot be rendered: its header {name} has no octets") from None


def _set_header(part: Message, header: MimeHeader) -> None:
    value: Any = header.value
    if header.form == "octets":
        value = value.encode("latin-1", "replace").decode("ascii", "surrogateescape")
    elif header.form == "parsed":
        try:
            _, value = part.policy.header_store_parse(header.name, value)
        except ValueError as trouble:
            raise WireError(f"the header {header.name} of a MIME part does not parse") from trouble
    part.set_raw(header.name, value)
