"""The messages that an application writes: EmailMessage, and EmailMultiAlternatives for several versions of a body.

A message says what it is; the bytes come from ``mime``, and a backend sends it.
"""

from __future__ import annotations

from datetime import datetime
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from email.utils import format_datetime, formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mailqueue import conf
from mailqueue.errors import BadHeaderError
from mailqueue.mail.address import Encoding, sanitize_address
from mailqueue.mail.attachments import DEFAULT_ATTACHMENT_MIME_TYPE, EmailAlternative, EmailAttachment, describe
from mailqueue.mail.headers import ADDRESS_HEADERS, forbid_multi_line_headers
from mailqueue.mail.mailers import get_connection, mailers, refuse_mix
from mailqueue.mail.mime import (
    MIMEMixin,
    SafeMIMEMessage,
    SafeMIMEMultipart,
    SafeMIMEText,
    as_text,
    make_part,
    name_part,
)
from mailqueue.mail.utils import DNS_NAME

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    _Part: TypeAlias = Message[Any, Any]

__all__ = [
    "ADDRESS_HEADERS",
    "DEFAULT_ATTACHMENT_MIME_TYPE",
    "BadHeaderError",
    "EmailAlternative",
    "EmailAttachment",
    "EmailMessage",
    "EmailMultiAlternatives",
    "MIMEMixin",
    "SafeMIMEMessage",
    "SafeMIMEMultipart",
    "SafeMIMEText",
    "forbid_multi_line_headers",
    "make_msgid",
    "sanitize_address",
]

#: Fields that have a place of their own; ``headers`` replaces their values.
_PLACED: Final = frozenset({"from", "to", "cc", "reply-to"})
_DATES: Final = frozenset({"date", "orig-date", "resent-date"})


class EmailMessage:
    """One message to any number of recipients. Its attributes may be changed until it is sent.

    Every parameter and attribute is that of Django's class of this name. ``to``, ``cc``, ``bcc`` and ``reply_to``
    take lists or tuples of addresses; ``attachments`` take MIME parts, EmailAttachment or plain tuples; ``headers``
    (``extra_headers``) map names to values and win over what the message would say itself.
    """

    #: The body is text/``content_subtype``.
    content_subtype: str = "plain"
    #: What attachments make of the message: multipart/``mixed_subtype``.
    mixed_subtype: str = "mixed"
    #: The charset; None stands for DEFAULT_CHARSET.
    encoding: Encoding = None
    #: What the queue backend gave for the message: the handle to ask what became of it.
    receipt: Any = None

    def __init__(
        self,
        subject: Any = "",
        body: Any = "",
        from_email: Any = None,
        to: Iterable[Any] | None = None,
        bcc: Iterable[Any] | None = None,
        connection: Any = None,
        attachments: Iterable[Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        cc: Iterable[Any] | None = None,
        reply_to: Iterable[Any] | None = None,
    ) -> None:
        self.to = _address_list("to", to)
        self.cc = _address_list("cc", cc)
        self.bcc = _address_list("bcc", bcc)
        self.reply_to = _address_list("reply_to", reply_to)
        self.from_email = from_email or conf.get("DEFAULT_FROM_EMAIL")
        self.subject = subject
        self.body = body or ""
        self.attachments: list[Any] = []
        for attachment in attachments or ():
            if isinstance(attachment, Message):
                self.attach(attachment)
            else:
                self.attach(*attachment)
        self.extra_headers = headers or {}
        self.connection = connection

    # -- sending

    def recipients(self) -> list[Any]:
        """Everyone the message goes to: to, cc and bcc, in this order, without empty entries.

        A subclass that has further ways to name recipients returns those as well.
        """
        return [_plain(address) for address in (*self.to, *self.cc, *self.bcc) if address]

    def get_connection(self, fail_silently: bool = False) -> Any:
        """The backend that ``send()`` uses: the message's own ``connection``, else a new one of the default."""
        if self.connection is not None:
            return self.connection
        return get_connection(fail_silently=fail_silently)

    def send(self, fail_silently: bool = False, *, using: str | None = None) -> Any:
        """Send the message; the number of messages sent, so 1, or 0 if there is nobody to send it to.

        ``using`` is an alias of MAILERS. Raises TypeError for ``using`` or ``fail_silently`` beside a connection,
        MailerDoesNotExist, whatever ``message()`` raises, and what the backend raises unless ``fail_silently``.
        """
        refuse_mix(connection=self.connection, fail_silently=fail_silently, using=using)
        if not self.recipients():
            return 0
        backend = self.get_connection(fail_silently) if using is None else mailers[using]
        return backend.send_messages([self])

    # -- attaching

    def attach(self, filename: Any = None, content: Any = None, mimetype: str | None = None) -> None:
        """Attach a file by name, content and type, or one MIME part (MIMEBase or MIMEPart), which stays as it is.

        A type that is not given is guessed from the name. Text (``text/*``) given as bytes is decoded as UTF-8; if
        that fails it is attached as application/octet-stream. Raises ValueError for a missing content, and for
        content or mimetype beside a MIME part.
        """
        if not isinstance(filename, Message):
            self.attachments.append(describe(filename, content, mimetype))
            return
        if not isinstance(filename, (MIMEBase, MIMEPart)):
            raise TypeError(
                f"{type(filename).__name__} is no MIME part; attach a whole message as content, with the mimetype "
                '"message/rfc822".'
            )
        if content is not None or mimetype is not None:
            kind = "MIMEBase" if isinstance(filename, MIMEBase) else "MIMEPart"
            raise ValueError(f"content and mimetype must not be given when a {kind} instance is provided.")
        self.attachments.append(filename)

    def attach_file(self, path: str | os.PathLike[str], mimetype: str | None = None) -> None:
        """Attach the file at ``path`` under its own name; otherwise as ``attach()``. Raises OSError."""
        file = Path(path)
        self.attach(file.name, file.read_bytes(), mimetype)

    # -- building

    def message(self) -> Any:
        """The message as it will be sent: a SafeMIMEText or SafeMIMEMultipart. Each call builds a new one.

        Raises BadHeaderError for a line break in a header, ValueError for an address that cannot be encoded and for
        a Bcc header, UnicodeEncodeError for text that ``encoding`` does not have, TypeError for text given as bytes.
        """
        body = SafeMIMEText(as_text(self.body, "body"), self.content_subtype, self._charset())
        message = self._create_message(body)
        for name, value in self._headers():
            message[name] = value
        return message

    def _charset(self) -> Encoding:
        return self.encoding or conf.get("DEFAULT_CHARSET")

    def _headers(self) -> Iterator[tuple[str, Any]]:
        """Names and values of all fields but those of MIME, in order."""
        extra = self.extra_headers
        given = {name.lower() for name in extra}
        if "bcc" in given:
            raise ValueError('A "Bcc" header would show the hidden recipients to all others. Use the bcc argument.')
        yield "Subject", self.subject
        yield "From", extra.get("From", self.from_email)
        for name, addresses in (("To", self.to), ("Cc", self.cc), ("Reply-To", self.reply_to)):
            if name in extra:
                yield name, extra[name]
            elif addresses:
                yield name, ", ".join(map(str, addresses))
        if "date" not in given:
            yield "Date", formatdate(localtime=conf.get("EMAIL_USE_LOCALTIME"))
        if "message-id" not in given:
            yield "Message-ID", make_msgid(domain=str(DNS_NAME))
        for name, value in extra.items():
            field = name.lower()
            if field in _DATES and isinstance(value, datetime):
                yield name, format_datetime(value)
            elif field not in _PLACED:
                yield name, value

    # Django's names for the steps: subclasses in the wild replace them, to nest the parts in ways of their own.

    def _create_message(self, msg: _Part) -> _Part:
        """The body ``msg`` with everything that goes around it."""
        return self._create_attachments(msg)

    def _create_attachments(self, msg: _Part) -> _Part:
        if not self.attachments:
            return msg
        outer = SafeMIMEMultipart(self.mixed_subtype, encoding=self._charset())
        if msg.is_multipart() or self.body:
            outer.attach(msg)
        for attachment in self.attachments:
            is_part = isinstance(attachment, (MIMEBase, MIMEPart))
            outer.attach(attachment if is_part else self._create_attachment(*attachment))
        return outer

    def _create_attachment(self, filename: Any, content: Any, mimetype: str | None = None) -> _Part:
        filename, content, mimetype = describe(filename, content, mimetype)
        part = self._create_mime_attachment(content, mimetype)
        if filename:
            name_part(part, filename)
        return part

    def _create_mime_attachment(self, content: Any, mimetype: str) -> _Part:
        return make_part(content, mimetype, self._charset())


class EmailMultiAlternatives(EmailMessage):
    """A message with other versions of its body, such as HTML beside the plain text."""

    #: What alternatives make of the body: multipart/``alternative_subtype``.
    alternative_subtype: str = "alternative"

    def __init__(
        self,
        subject: Any = "",
        body: Any = "",
        from_email: Any = None,
        to: Iterable[Any] | None = None,
        bcc: Iterable[Any] | None = None,
        connection: Any = None,
        attachments: Iterable[Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        alternatives: Iterable[Any] | None = None,
        cc: Iterable[Any] | None = None,
        reply_to: Iterable[Any] | None = None,
    ) -> None:
        super().__init__(subject, body, from_email, to, bcc, connection, attachments, headers, cc=cc, reply_to=reply_to)
        self.alternatives: list[Any] = [EmailAlternative(*alternative) for alternative in alternatives or ()]

    def attach_alternative(self, content: Any, mimetype: Any) -> None:
        """Add another version of the body; the last is the one that readers prefer. Raises ValueError for None."""
        if content is None or mimetype is None:
            raise ValueError("Both content and mimetype must be provided.")
        self.alternatives.append(EmailAlternative(content, mimetype))

    def body_contains(self, text: str) -> bool:
        """Whether ``text`` is in the body and in every alternative that is text."""
        versions = [content for content, mimetype in self.alternatives if mimetype.startswith("text/")]
        return all(text in as_text(version, "the body") for version in (self.body, *versions))

    def _create_message(self, msg: _Part) -> _Part:
        return self._create_attachments(self._create_alternatives(msg))

    def _create_alternatives(self, msg: _Part) -> _Part:
        if not self.alternatives:
            return msg
        outer = SafeMIMEMultipart(self.alternative_subtype, encoding=self._charset())
        if self.body:
            outer.attach(msg)
        for content, mimetype in self.alternatives:
            outer.attach(self._create_mime_attachment(content, mimetype))
        return outer


def _address_list(name: str, value: Iterable[Any] | None) -> list[Any]:
    # "encode" tells text that is no str: bytes have "decode", lazy strings stand in for all methods of str.
    if value and (isinstance(value, (str, bytes)) or hasattr(value, "encode")):
        raise TypeError(f'"{name}" argument must be a list or tuple')
    return list(value or ())


def _plain(address: Any) -> Any:
    return address if isinstance(address, (str, tuple)) else str(address)
