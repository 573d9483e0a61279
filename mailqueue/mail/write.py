"""The bytes of a message written straight down, as RFC 5322 and MIME (RFC 2045, 2046) have them: no part is built first.

What stands at the head of a kind of part, and how a field folds, is asked of the reference - the parts of ``mime`` and
the email package that writes them - and kept. What is unusual is left to it: one field, one part, or the message.
"""

from __future__ import annotations

import functools
import re
from email.charset import QP
from email.errors import MessageError
from email.generator import BytesGenerator
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from mailqueue import conf
from mailqueue.mail.attachments import FILE_TYPE, TEXT_TYPE, describe
from mailqueue.mail.encoded import encoded_files
from mailqueue.mail.headers import forbid_multi_line_headers, is_line
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives
from mailqueue.mail.mime import FOLD_AT, LINE_LIMIT, SafeMIMEMultipart, flatten, fold, make_part, name_part, utf8_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["write"]

_CRLF: Final = b"\r\n"
_UTF8: Final = "utf-8"

#: A part that is written: first what stands at its head; further fields may follow; then the blank line and the rest.
_Written: TypeAlias = list[bytes]
#: A part that was taken in: written already, or one for the reference, or one that holds others.
_Part: TypeAlias = "_Written | Message[Any, Any] | _Multipart"

_SUBTYPE: Final = re.compile(r"(?!signed$)[a-z0-9][a-z0-9.+-]*", re.ASCII)  # the parts of a signed one fold otherwise
_NAME: Final = re.compile(r"[!-9;-~]+", re.ASCII)  # of a field (RFC 5322 section 2.2)
_FOLDS: Final = re.compile(r"[ ,;]")  # where the reference may fold an ASCII value; or it is no line at all
_REMEMBERED: Final = 1000  # characters; longer values hardly come again


class _Unusual(Exception):  # noqa: N818 - no error: the reference writes it
    """The message as a whole is for the reference."""


def write(message: EmailMessage) -> bytes | None:
    r"""``message`` as ``message.message().as_bytes(linesep="\r\n")``; None if the reference must write it, or refuse it.

    ``message`` must be of our classes, with every step as they have it.
    """
    encoding = message.encoding or conf.get("DEFAULT_CHARSET")
    if not isinstance(encoding, str) or encoding != _UTF8:  # a Charset that writes UTF-8 in its own way is equal
        return None
    try:
        return _Writer(message).write()
    except (_Unusual, AttributeError, LookupError, MessageError, TypeError, ValueError):
        return None  # what is wrong with a message, the reference says


class _Multipart(NamedTuple):
    subtype: str
    parts: Sequence[_Part]


class _Writer:
    """One message, while it is written.

    All of it is taken in first, in the order in which the message's own steps go, and whatever is unusual comes up. Only
    then are boundaries drawn.
    """

    def __init__(self, message: EmailMessage) -> None:
        self._message = message
        self._texts: list[bytes] = []  # what a boundary might occur in

    def write(self) -> bytes:
        content = self._content()
        fields = list(self._fields())
        head, *rest = self._written(content)
        return b"".join([head, *fields, *rest])

    # -- taking it in

    def _content(self) -> _Part:
        """The body, with what goes around it."""
        message = self._message
        whole: _Part = self._part(message.body, f"text/{message.content_subtype}")
        parts: list[_Part] = [whole] if message.body else []
        if isinstance(message, EmailMultiAlternatives) and message.alternatives:
            parts += [self._part(content, mimetype) for content, mimetype in message.alternatives]
            whole = _multipart(message.alternative_subtype, parts)
            parts = [whole]
        if message.attachments:
            parts += map(self._attachment, message.attachments)
            whole = _multipart(message.mixed_subtype, parts)
        return whole

    def _attachment(self, attachment: Any) -> _Part:
        if isinstance(attachment, (MIMEBase, MIMEPart)):
            return attachment
        filename, content, mimetype = describe(*attachment)
        part = self._part(content, mimetype)
        if not filename:
            return part
        if isinstance(part, list):
            part.insert(1, _disposition(str(filename)))
        else:
            name_part(part, filename)
        return part

    def _part(self, content: Any, mimetype: str) -> _Written | Message[Any, Any]:
        if type(content) is bytes and FILE_TYPE.fullmatch(mimetype):
            return [_file_head(mimetype), _CRLF, *encoded_files[content]]
        if type(content) is str and TEXT_TYPE.fullmatch(mimetype):
            head, octets = _text(content, mimetype)
            self._texts.append(octets)
            return [head, _CRLF, octets]
        return make_part(content, mimetype, _UTF8)

    def _fields(self) -> Iterator[bytes]:
        for name, value in self._message._headers():  # noqa: SLF001 - a step of the message, which is taken for it
            if not _is_usual(name):
                raise _Unusual(name)
            yield _field(name, str(value))

    # -- writing it down

    def _written(self, part: _Part) -> _Written:
        if isinstance(part, list):
            return part
        if isinstance(part, _Multipart):
            return self._delimited(*part)
        written = _leaf(part) or _by_reference(part)
        self._texts += written
        return written

    def _delimited(self, subtype: str, parts: Sequence[_Part]) -> _Written:
        """A part that holds ``parts`` (RFC 2046 section 5.1.1)."""
        written = [self._written(part) for part in parts]
        boundary = self._boundary()
        before, after = _multipart_head(subtype, len(boundary))
        delimiter = b"\r\n--" + boundary
        pieces = [before + boundary + after]
        for part in written:
            pieces += (delimiter, _CRLF, *part)
        pieces += (delimiter, b"--\r\n")
        return pieces

    def _boundary(self) -> bytes:
        """A boundary as the email package draws it, and none that a text has in it; base64 knows no hyphen."""
        while True:
            boundary: bytes = BytesGenerator._make_boundary().encode("ascii")  # type: ignore[attr-defined]  # noqa: SLF001
            if not any(b"--" + boundary in text for text in self._texts):
                return boundary


def _multipart(subtype: str, parts: Sequence[_Part]) -> _Multipart:
    if not _SUBTYPE.fullmatch(subtype):
        raise _Unusual(subtype)
    return _Multipart(subtype, parts)


# -- parts that are given

#: Those whose payload is not just written down (by BytesGenerator).
_NO_LEAVES: Final = frozenset({"message", "multipart"})


def _by_reference(part: Message[Any, Any]) -> _Written:
    octets = flatten(part, linesep="\r\n", inner=True)
    end = octets.find(b"\r\n\r\n") + 2  # of the fields; a part that has none is not the message itself
    return [octets[:end], octets[end:]]


def _leaf(part: Message[Any, Any]) -> _Written | None:
    """A part with plain fields and encoded content, such as an inline image."""
    content: Any = part.get_payload()
    if type(content) is not str or not content.isascii() or part.get_content_maintype() in _NO_LEAVES:
        return None
    fields = [
        _plain_field(name, value) if type(value) is str and _is_name(name) else None for name, value in part.raw_items()
    ]
    written = [field for field in fields if field is not None]
    return [b"".join(written), _CRLF, _with_crlf(content.encode("ascii"))] if written == fields else None


# -- fields


@functools.lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@functools.lru_cache(maxsize=256)
def _is_usual(name: str) -> bool:
    """Whether it is the name of a field, and none of MIME's, which say how to read what a part has already."""
    return _is_name(name) and not name.lower().startswith(("content-", "mime-"))


def _plain_field(name: str, value: str) -> bytes | None:
    """A field that is a short line of printable ASCII, which stands as it is (RFC 5322 section 2.2); else None."""
    line = f"{name}: {value}\r\n"
    if len(line) - 2 <= FOLD_AT and value.isprintable() and line.isascii() and value and value == value.strip():
        return line.encode("ascii")
    return None


def _unbroken_field(name: str, value: str) -> bytes | None:
    """A field whose value is too long for the first line and has no place to be folded at, such as a URL; else None.

    Every message of a campaign has one of its own (List-Unsubscribe), which to fold by the reference takes 25 us.
    """
    if len(name) + 2 + len(value) > FOLD_AT and value.isascii() and value.isprintable() and not _FOLDS.search(value):
        return f"{name}: \r\n {value}\r\n".encode("ascii")
    return None


def _field(name: str, value: str) -> bytes:
    """One field."""
    if plain := _plain_field(name, value) or _unbroken_field(name, value):
        return plain
    if not is_line(value):
        raise _Unusual(name)
    return _folded(name, value) if len(value) <= _REMEMBERED else _folded.__wrapped__(name, value)


@functools.lru_cache(maxsize=256)
def _folded(name: str, value: str) -> bytes:
    """A field of several lines (section 2.2.3), or with encoded words (RFC 2047); often that of the message before."""
    return fold(*forbid_multi_line_headers(name, value, _UTF8))


@functools.lru_cache(maxsize=256)
def _disposition(filename: str) -> bytes:
    """The field that names an attachment (RFC 2183)."""
    if len(filename) > _REMEMBERED:
        raise _Unusual("filename")
    named: Message[Any, Any] = Message()
    name_part(named, filename)
    ((field, value),) = named.items()
    return _field(field, value)


# -- what stands at the head of a part, by its type


@functools.lru_cache(maxsize=256)
def _text_head(mimetype: str, sample: str) -> bytes:
    """That of text which is encoded as ``sample`` is."""
    return _head(make_part(sample, mimetype, _UTF8))


@functools.lru_cache(maxsize=256)
def _file_head(mimetype: str) -> bytes:
    return _head(make_part(b"", mimetype, _UTF8))


@functools.lru_cache(maxsize=256)
def _multipart_head(subtype: str, length: int) -> tuple[bytes, bytes]:
    """What stands before and after a boundary of ``length`` characters."""
    boundary = "=" * length
    part = SafeMIMEMultipart(subtype)
    part.set_boundary(boundary)
    before, _, after = _head(part).partition(boundary.encode("ascii"))
    return before, after


def _head(part: Message[Any, Any]) -> bytes:
    return flatten(part, linesep="\r\n").partition(b"\r\n\r\n")[0] + _CRLF


# -- text

_7BIT: Final = ""
_8BIT: Final = "é"
_QUOTED: Final = "x" * (LINE_LIMIT + 1)


def _text(content: str, mimetype: str) -> tuple[bytes, bytes]:
    """The head and the lines of a text: 7bit or 8bit, or quoted-printable (RFC 2045 sections 2.7, 2.8 and 6.7)."""
    octets = content.encode()
    if _may_have_long_line(octets) and (charset := utf8_for(content)).body_encoding == QP:
        return _text_head(mimetype, _QUOTED), _with_crlf(charset.body_encode(octets).encode("ascii"))
    return _text_head(mimetype, _7BIT if content.isascii() else _8BIT), _with_crlf(octets)


def _with_crlf(octets: bytes) -> bytes:
    """``octets`` with each end of a line, be it LF, CR or CRLF, as CRLF."""
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return octets.replace(b"\n", _CRLF)


def _may_have_long_line(octets: bytes) -> bool:
    """False if no line is too long for SMTP, wherever else than at LF lines may end."""
    start = 0
    while len(octets) - start > LINE_LIMIT:
        end = octets.rfind(b"\n", start, start + LINE_LIMIT + 1)
        if end < 0:
            return True
        start = end + 1
    return False
