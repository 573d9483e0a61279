"""MIME parts: the classes that messages are made of, and the bytes that they become.

Text is never base64, headers are vetted when they are set, and lines that begin with "From " stay as they are.
"""

from __future__ import annotations

from email.charset import QP, Charset
from email.encoders import encode_base64
from email.generator import BytesGenerator, Generator
from email.headerregistry import AddressHeader, ParameterizedMIMEHeader
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.parser import BytesParser
from email.policy import SMTP, Compat32
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, Final

from mailqueue.mail.headers import forbid_multi_line_headers, forbid_newlines

if TYPE_CHECKING:
    from mailqueue.mail.address import Encoding

__all__ = [
    "FOLD_AT",
    "LINE_LIMIT",
    "MIMEMixin",
    "SafeMIMEMessage",
    "SafeMIMEMultipart",
    "SafeMIMEText",
    "as_text",
    "flatten",
    "fold",
    "make_part",
    "name_part",
    "utf8_for",
]

#: Octets that a line may have at most, without its end (RFC 5322 section 2.1.1).
LINE_LIMIT: Final = 998


def _utf8(body_encoding: int | None) -> Charset:
    # Instances of our own: the registry of the email package belongs to the whole process.
    charset = Charset("utf-8")
    charset.body_encoding = body_encoding  # type: ignore[assignment]  # None: 7bit or 8bit, as the text needs
    return charset


_UTF8_AS_IS: Final = _utf8(None)
_UTF8_QUOTED: Final = _utf8(QP)


def utf8_for(text: str) -> Charset:
    """UTF-8 as the body ``text`` needs it: as it is, quoted-printable if a line is too long for SMTP, never base64."""
    return _UTF8_QUOTED if _has_long_line(text) else _UTF8_AS_IS


class _Policy(Compat32):
    """Headers as the classic API writes them, save those of modern parts that it would spoil.

    It encodes a value as one RFC 2047 word, whole: no reader finds the addresses or the parameters (a file name) in
    it any more. A header object of the modern API knows how to write itself.
    """

    def fold(self, name: str, value: str) -> str:
        return self._written_by_itself(value) or super().fold(name, value)

    def fold_binary(self, name: str, value: str) -> bytes:
        return self._written_by_itself(value).encode("ascii", "surrogateescape") or super().fold_binary(name, value)

    def _written_by_itself(self, value: str) -> str:
        if isinstance(value, (AddressHeader, ParameterizedMIMEHeader)) and not value.isascii():
            written: str = value.fold(policy=SMTP.clone(linesep=self.linesep))  # type: ignore[union-attr]
            return written
        return ""


_POLICY: Final = _Policy()
_WIRE: Final = _POLICY.clone(linesep="\r\n")
#: Characters of a line of the header, its end left out, beyond which it is folded.
FOLD_AT: Final = _POLICY.max_line_length or 0


def flatten(part: Message[Any, Any], *, linesep: str = "\n", unixfrom: bool = False, inner: bool = False) -> bytes:
    """``part`` as bytes, with ``linesep`` at the end of each line; ``inner``: as it is written inside of another."""
    buffer = BytesIO()
    policy = _POLICY if inner or isinstance(part.policy, Compat32) else None  # None: the part's own
    BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(part, unixfrom=unixfrom, linesep=linesep)
    return buffer.getvalue()


def fold(name: str, value: str) -> bytes:
    """A field of the header as ``flatten`` writes it for the wire, with its line ends."""
    return _WIRE.fold_binary(name, value)


class MIMEMixin(Message):
    """Writes a message without mangling lines that begin with "From " in it."""

    def as_string(self, unixfrom: bool = False, linesep: str = "\n") -> str:  # type: ignore[override]
        """The whole message as text; ``unixfrom`` puts the envelope header of an mbox before it."""
        buffer = StringIO()
        Generator(buffer, mangle_from_=False, policy=_POLICY).flatten(self, unixfrom=unixfrom, linesep=linesep)
        return buffer.getvalue()

    def as_bytes(self, unixfrom: bool = False, linesep: str = "\n") -> bytes:  # type: ignore[override]
        """The whole message as bytes; ``unixfrom`` puts the envelope header of an mbox before it."""
        return flatten(self, linesep=linesep, unixfrom=unixfrom)


class _Vetted(MIMEMixin):
    """Headers that are encoded with ``encoding`` and cannot inject others."""

    encoding: Encoding = None

    def __setitem__(self, name: str, val: Any) -> None:
        super().__setitem__(*forbid_multi_line_headers(name, val, self.encoding))


class SafeMIMEText(_Vetted, MIMEText):
    """A text part. In UTF-8 it is 7bit or 8bit; quoted-printable if a line is too long for SMTP, never base64."""

    def __init__(self, _text: str, _subtype: str = "plain", _charset: Encoding = None) -> None:
        self.encoding = _charset
        super().__init__(_text, _subtype, _charset)  # type: ignore[arg-type]  # a Charset will do

    def set_payload(self, payload: Any, charset: Any = None) -> None:
        """Set the text. A Charset object is taken at its word."""
        if charset == "utf-8" and not isinstance(charset, Charset):
            charset = utf8_for(payload)
        super().set_payload(payload, charset)


class SafeMIMEMultipart(_Vetted, MIMEMultipart):
    """A part that holds others."""

    def __init__(
        self,
        _subtype: str = "mixed",
        boundary: str | None = None,
        _subparts: Any = None,
        encoding: Encoding = None,
        **_params: Any,
    ) -> None:
        self.encoding = encoding
        super().__init__(_subtype, boundary, _subparts, **_params)


class SafeMIMEMessage(_Vetted, MIMEMessage):
    """A message inside a message. Its own fields are ASCII (RFC 2046 section 5.2.1)."""

    encoding = "ascii"


class _SafeMIMEFile(MIMEMixin, MIMEBase):
    """A file of any type; what its name and type say cannot inject headers."""

    def __setitem__(self, name: str, val: Any) -> None:
        super().__setitem__(name, forbid_newlines(name, val))


def as_text(value: Any, what: str) -> str:
    """``value`` as ``str``: lazy strings become what they stand for, None is empty, bytes are a TypeError."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{what} must be text (str), not {type(value).__name__}: decode it first")
    return "" if value is None else str(value)


def make_part(content: Any, mimetype: str, encoding: Encoding) -> MIMEBase:
    """A part of type ``mimetype`` with ``content``.

    Text is encoded as ``encoding`` says; message/rfc822 takes a message of any kind, or its text or bytes; everything
    else is base64. Raises ValueError for what is no MIME type, TypeError for text given as bytes.
    """
    maintype, slash, subtype = mimetype.partition("/")
    if not slash:
        raise ValueError(f'Invalid MIME type "{mimetype}"; it has no slash.')
    if maintype == "text":
        return SafeMIMEText(as_text(content, f"{mimetype} content"), subtype, encoding)
    if mimetype == "message/rfc822":
        return SafeMIMEMessage(_embedded(content), subtype)
    part = _SafeMIMEFile(maintype, subtype)
    part.set_payload(content)
    encode_base64(part)
    return part


def name_part(part: Message[Any, Any], filename: object) -> None:
    """Mark ``part`` as an attachment called ``filename``: as it is if ASCII, else as RFC 2231 has it."""
    name = str(filename)
    part.add_header("Content-Disposition", "attachment", filename=name if name.isascii() else ("utf-8", "", name))


def _embedded(content: Any) -> Message[Any, Any]:
    if isinstance(content, Message):
        return content
    if callable(getattr(content, "message", None)):  # an EmailMessage, ours or Django's
        message: Message[Any, Any] = content.message()
        return message
    raw = bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else str(content).encode()
    return BytesParser().parsebytes(raw)


def _has_long_line(text: str) -> bool:
    if isinstance(text, str) and len(text) * 4 <= LINE_LIMIT:  # no character takes more than four octets
        return False
    return any(len(line.encode(errors="surrogateescape")) > LINE_LIMIT for line in text.splitlines())
