"""The envelope: the unit of queueing, version 1 of what travels between the web app and the workers.

One message with its sender and recipients, ids and options, as plain data. ``pack`` makes it of a message and
``unpack`` a message of it, so that what a relay receives is what a synchronous send would have sent. Leaves bytes and
compression to ``mailqueue.codec``.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from datetime import datetime
from email.charset import Charset
from email.parser import BytesHeaderParser
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from mailqueue import conf
from mailqueue.blobs import Blob, Content, Luggage, restore
from mailqueue.charset import CharsetSpec
from mailqueue.errors import InvalidMessage, MessageTooLarge, TooManyRecipients, WireError
from mailqueue.extras import pack_extras, plain, text, unpack_extras
from mailqueue.lanes import DEFAULT_LANE
from mailqueue.mail.address import envelope_address
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives
from mailqueue.mail.render import render
from mailqueue.mail.steps import APART_FROM_MAIL, DJANGO, OURS, keeps_steps
from mailqueue.mail.utils import DNS_NAME
from mailqueue.parts import Part, pack_alternative, pack_attachment, unpack_alternative, unpack_attachment
from mailqueue.precheck import passes
from mailqueue.rendered import RenderedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["VERSION", "Envelope", "Kind", "Limits", "OnUnknown", "date_at", "pack", "unpack"]

VERSION: Final = 1
_UTF8: Final = "utf-8"  # one object, for a default is left out of the JSON if it is the same one

Kind: TypeAlias = Literal["message", "alternatives", "rendered"]
OnUnknown: TypeAlias = Literal["resend", "hold"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message may have at most; checked in the caller."""

    message_bytes: int = 25 * 1024 * 1024  # as rendered, estimated within a few per cent
    recipients: int = 1000
    header_bytes: int = 256 * 1024  # relays take less of one field: Postfix's header_size_limit is 102,400
    parts: int = (
        1000  # attachments and alternatives, and large parts inside of them; a script of the ledger takes 4,000
    )


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=VERSION):
    """One queued message. What it has of a message is named as Django names the attribute.

    ``kind`` is the class that it comes back as: EmailMessage, EmailMultiAlternatives, or a RenderedMessage, whose
    bytes are in ``raw`` and whose recipients in ``rcpt``.
    """

    id: str
    created: float  # s since the epoch, by the producer's clock
    lane: str = DEFAULT_LANE
    relay: str = ""  # alias of the relay that is to deliver; "" is the default delivery backend
    on_unknown: OnUnknown = "resend"
    labels: dict[str, Any] = {}  # the caller's own, given as enqueue(metadata=...)
    expires_at: float = 0.0  # s since the epoch; the ledger's, here for a message that is accepted again from its task

    kind: Kind = "message"
    subject: str = ""
    body: Content = ""
    content_subtype: str = "plain"
    from_email: str = ""
    to: tuple[str | None, ...] = ()  # Django lets empty entries stand; no mail goes to them
    cc: tuple[str | None, ...] = ()
    bcc: tuple[str | None, ...] = ()
    reply_to: tuple[str | None, ...] = ()
    headers: dict[str, str] = {}  # with Date and Message-ID, fixed when it was packed
    alternatives: tuple[Part, ...] = ()
    attachments: tuple[Part, ...] = ()
    encoding: str | CharsetSpec = _UTF8
    mixed_subtype: str = "mixed"
    alternative_subtype: str = "alternative"
    extras: dict[str, Any] = {}  # attributes for third-party backends: mailqueue.extras

    raw: Content | None = None
    rcpt: tuple[str, ...] = ()

    def recipients(self) -> list[str]:
        """Every address that it goes to, once, in the order to, cc, bcc; as the caller wrote them."""
        if self.kind == "rendered":
            return list(dict.fromkeys(self.rcpt))
        return list(dict.fromkeys(entry for entry in (*self.to, *self.cc, *self.bcc) if entry))

    @property
    def message_id(self) -> str:
        """The Message-ID header, or the empty string if a message of the caller's own class has none."""
        return next((value for name, value in self.headers.items() if name.lower() == "message-id"), "")

    def blobs(self) -> tuple[str, ...]:
        """The content hashes of the large parts that it refers to, each once."""
        return tuple(self.sizes())

    def sizes(self) -> dict[str, int]:
        """Octets of each large part that it refers to, by content hash."""
        return {blob.sha256: blob.size for blob in self._blobs()}

    def _blobs(self) -> Iterator[Blob]:
        for content in (self.body, self.raw):
            if isinstance(content, Blob):
                yield content
        for part in (*self.alternatives, *self.attachments):
            yield from part.blobs()


def pack(
    message: Any,
    *,
    id: str,  # noqa: A002 - the field's name
    now: float,
    lane: str = DEFAULT_LANE,
    relay: str = "",
    on_unknown: OnUnknown = "resend",
    labels: Mapping[str, Any] | None = None,
    expires_at: float = 0.0,
    limits: Limits = Limits(),
) -> tuple[Envelope, dict[str, bytes]]:
    """Return ``message`` as an envelope, and its large parts by their content hashes.

    Takes our message classes, Django's, and whatever else has ``message()`` and ``recipients()``. Builds the message
    once, unless it can be seen without, so that everything that could not be sent is refused here. Fixes its Date and
    its Message-ID.

    Raises:
        TypeError: for what is no message, and for an attribute or a label that JSON cannot carry.
        MessageTooLarge, TooManyRecipients, InvalidMessage: for what is above ``limits``.
        ValueError: and whatever else ``message.message()`` raises, for what cannot be rendered.
    """
    if not (callable(getattr(message, "message", None)) and callable(getattr(message, "recipients", None))):
        raise TypeError(f"{type(message).__name__} is no mail message: it has no message() and recipients()")
    _check_number(message, limits)
    _check_parts(message, limits)
    encoding = _encoding(message)
    kind = _kind(message, encoding)
    luggage = Luggage()
    if kind == "rendered":
        _check_addresses(message, encoding)
        fields = _render(message, luggage)
    elif (
        encoding is _UTF8
        and passes(message)
        and (length := _header_length(message)) * _EXPANSION <= limits.header_bytes
    ):
        luggage.size += length
        fields = _take_apart(message, encoding, _with_date_and_id(message.extra_headers), luggage)
    else:
        _check_addresses(message, encoding)
        built = _build(message, luggage, limits)
        fields = _take_apart(message, encoding, _with_date_and_id_of(built, message.extra_headers), luggage)
    if luggage.size > limits.message_bytes:
        raise MessageTooLarge(
            f"the message has about {luggage.size} octets, and MAILQUEUE_MAX_MESSAGE_BYTES is {limits.message_bytes}",
            size=luggage.size,
            limit=limits.message_bytes,
        )
    if len(luggage.blobs) > limits.parts:
        raise InvalidMessage(f"the message has {len(luggage.blobs)} large parts, and {limits.parts} is the limit")
    envelope = Envelope(
        id=id,
        created=now,
        lane=lane,
        relay=relay,
        on_unknown=on_unknown,
        labels=plain(dict(labels), "metadata") if labels else {},
        expires_at=expires_at,
        kind=kind,
        extras=pack_extras(message),
        **fields,
    )
    return envelope, luggage.blobs


def unpack(envelope: Envelope, blobs: Mapping[str, bytes]) -> EmailMessage:
    """Return the message of ``envelope``, which renders as the one that was packed.

    Raises:
        WireError: if one of its large parts is not in ``blobs``, or the envelope is not what ``pack`` makes.
    """
    message: EmailMessage
    sender = envelope.from_email or "-"  # anything: for want of a sender a new message looks up the setting
    if envelope.kind == "rendered":
        message = RenderedMessage(_octets(envelope.raw, blobs), envelope.rcpt, from_email=sender)
    elif envelope.kind == "alternatives":
        message = EmailMultiAlternatives(from_email=sender)
        message.alternatives = [unpack_alternative(part, blobs) for part in envelope.alternatives]
    else:
        message = EmailMessage(from_email=sender)
    encoding = envelope.encoding
    message.subject = envelope.subject
    message.body = _text(envelope.body, blobs)
    message.content_subtype = envelope.content_subtype
    message.from_email = envelope.from_email
    message.to = list(envelope.to)
    message.cc = list(envelope.cc)
    message.bcc = list(envelope.bcc)
    message.reply_to = list(envelope.reply_to)
    message.extra_headers = dict(envelope.headers)
    message.attachments = [unpack_attachment(part, blobs) for part in envelope.attachments]
    message.encoding = encoding.charset() if isinstance(encoding, CharsetSpec) else encoding
    message.mixed_subtype = envelope.mixed_subtype
    if isinstance(message, EmailMultiAlternatives):
        message.alternative_subtype = envelope.alternative_subtype
    unpack_extras(message, envelope.extras)
    return message


def _text(content: Content, blobs: Mapping[str, bytes]) -> str:
    held = restore(content, blobs)
    if not isinstance(held, str):
        raise WireError("the body of a message is no text")
    return held


def _octets(content: Content | None, blobs: Mapping[str, bytes]) -> bytes:
    held = None if content is None else restore(content, blobs)
    if not isinstance(held, bytes):
        raise WireError("a rendered message has no bytes")
    return held


# -- what is refused before anything is built


def _encoding(message: Any) -> str | Charset:
    encoding: str | Charset = getattr(message, "encoding", None) or conf.get("DEFAULT_CHARSET")
    return encoding if isinstance(encoding, Charset) or encoding != _UTF8 else _UTF8


def _check_number(message: Any, limits: Limits) -> None:
    count = len(message.recipients())
    if count > limits.recipients:
        raise TooManyRecipients(
            f"{count} recipients, and MAILQUEUE_MAX_RECIPIENTS is {limits.recipients}: send several messages",
            count=count,
            limit=limits.recipients,
        )


def _check_parts(message: Any, limits: Limits) -> None:
    count = sum(len(getattr(message, name, None) or ()) for name in ("alternatives", "attachments"))
    if count > limits.parts:
        raise InvalidMessage(f"the message has {count} parts, and {limits.parts} is the limit: attach an archive")


def _check_addresses(message: Any, encoding: str | Charset) -> None:
    envelope_address(message.from_email, encoding)
    for recipient in message.recipients():  # bcc too, which message() does not look at
        envelope_address(recipient, encoding)


def _build(message: Any, luggage: Luggage, limits: Limits) -> Any:
    built = message.message()
    size = sum(len(name) + len(str(value)) + 4 for name, value in built.items())
    if size > limits.header_bytes:
        raise InvalidMessage(f"the headers of the message have {size} octets, and {limits.header_bytes} is the limit")
    luggage.size += size
    return built


#: How many octets of header a character can become: UTF-8 has four at most, each of them =XX in an RFC 2047 word.
_EXPANSION: Final = 16


def _header_length(message: Any) -> int:
    """The characters in the header of ``message``, without Date, Message-ID and those of MIME."""
    length = len(message.subject) + len(message.from_email)
    for entries in (message.to, message.cc, message.reply_to):
        length += sum(map(len, entries))
    return length + sum(len(name) + len(value) for name, value in message.extra_headers.items())


# -- which messages travel as data, and which as bytes

_HOMES: Final = (OURS, DJANGO)


def _kind(message: Any, encoding: str | Charset) -> Kind:
    if not keeps_steps(message, _HOMES, APART_FROM_MAIL):
        return "rendered"
    if isinstance(encoding, Charset) and CharsetSpec.of(encoding) is None:
        return "rendered"
    if any(isinstance(entry, tuple) for entry in (*message.to, *message.cc, *message.reply_to)):
        return "rendered"  # pairs are for the envelope alone; what a header makes of one is not for us to repeat
    return "alternatives" if _has_alternatives(message.__class__) else "message"


@functools.lru_cache(maxsize=256)
def _has_alternatives(cls: type) -> bool:
    return any(base.__name__ == "EmailMultiAlternatives" and base.__module__ in _HOMES for base in cls.__mro__)


# -- from a message to the fields of its envelope


def _take_apart(message: Any, encoding: str | Charset, headers: dict[str, str], luggage: Luggage) -> dict[str, Any]:
    return {
        "subject": text(message.subject),
        "body": luggage.check_in("" if message.body is None else text(message.body)),
        "content_subtype": message.content_subtype,
        "from_email": text(message.from_email),
        **_addresses(message),
        "headers": headers,
        "alternatives": tuple(
            pack_alternative(entry, luggage) for entry in getattr(message, "alternatives", None) or ()
        ),
        "attachments": tuple(pack_attachment(entry, luggage) for entry in message.attachments or ()),
        "encoding": CharsetSpec.of(encoding) if isinstance(encoding, Charset) else encoding,
        "mixed_subtype": getattr(message, "mixed_subtype", "mixed"),  # both are gone from Django 6.0
        "alternative_subtype": getattr(message, "alternative_subtype", "alternative"),
    }


def _render(message: Any, luggage: Luggage) -> dict[str, Any]:
    octets = render(message)
    headers = BytesHeaderParser().parsebytes(octets)
    return {
        "subject": text(getattr(message, "subject", "")),
        "from_email": text(message.from_email),
        **_addresses(message),
        "headers": {name: text(headers[name]) for name in ("Date", "Message-ID") if name in headers},
        "raw": luggage.check_in(octets),
        "rcpt": tuple(map(_address, message.recipients())),
    }


def _addresses(message: Any) -> dict[str, tuple[str | None, ...]]:
    found = {name: getattr(message, name, None) for name in ("to", "cc", "bcc", "reply_to")}
    return {
        name: tuple([None if entry is None else _address(entry) for entry in entries])
        for name, entries in found.items()
        if entries
    }


def _address(entry: Any) -> str:
    return text(entry[1] if isinstance(entry, tuple) else entry)


# Date and Message-ID stand before the caller's headers, where Django puts them; a caller's own wins.


def _with_date_and_id_of(built: Any, given: Mapping[str, Any]) -> dict[str, str]:
    names = {name.lower() for name in given}
    fixed = {name: text(built[name]) for name in ("Date", "Message-ID") if name.lower() not in names}
    for name, value in given.items():
        fixed[text(name)] = text(built[name] if isinstance(value, datetime) else value)
    return fixed


def _with_date_and_id(given: Mapping[str, str]) -> dict[str, str]:
    names = {name.lower() for name in given} if given else ()
    fixed = {}
    if "date" not in names:
        fixed["Date"] = date_at(time.time())
    if "message-id" not in names:
        fixed["Message-ID"] = make_msgid(domain=str(DNS_NAME))
    for name, value in given.items():
        fixed[text(name)] = text(value)
    return fixed


def date_at(moment: float) -> str:
    """The Date header of a message made at ``moment``, in s since the epoch."""
    return _date(int(moment), conf.get("EMAIL_USE_LOCALTIME"))


@functools.lru_cache(maxsize=64)  # a worker makes those of all the seconds in which a campaign was fed
def _date(second: int, localtime: bool) -> str:
    return formatdate(second, localtime=localtime)
