"""The template of a campaign: what is stored of it, and compiled, what makes a message of it for each recipient."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mailqueue import conf
from mailqueue.blobs import Luggage
from mailqueue.bulk.address import mailbox
from mailqueue.bulk.derived import DerivedText
from mailqueue.bulk.sandbox import NOWHERE, Field, FieldKind, Origin, global_names
from mailqueue.errors import InvalidMessage, MessageTooLarge, RecipientError, TemplateError
from mailqueue.mail.address import PLAIN_NAME
from mailqueue.mail.attachments import EmailAlternative
from mailqueue.mail.headers import ADDRESS_HEADERS, is_line
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives
from mailqueue.parts import Part, pack_attachment, unpack_attachment
from mailqueue.precheck import passes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Compiled", "Template", "pack_attachments", "refusal_of_name"]

_OURS: Final = "mailqueue sets it itself"
#: Why these are not to be among the headers: they have a place of their own, or each message gets them anew.
_TAKEN: Final[Mapping[str, str]] = {
    **{key.replace("_", "-"): f"give it as {key!r}, not here" for key in ("subject", "from", "to", "reply_to")},
    **dict.fromkeys(("cc", "bcc"), "a campaign writes to one recipient at a time"),
    **dict.fromkeys(("date", "message-id", "return-path", "received"), _OURS),
}
_MIME: Final = ("content-", "mime-", "resent-")
_PLAIN_NAME: Final = re.compile(PLAIN_NAME)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,76}", re.ASCII)
_EXACT: Final = 10**15  # above it, Python writes some floats another way, and thousands of digits not at all
_LONGEST_NAME: Final = 255  # octets, as files have; encoded it is to fit into a line
_ANY: Final = 10**6  # characters: no field varies
_NOTHING: Final[Mapping[str, Any]] = {}


class Template(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message with blanks: every text is a Jinja2 template over the recipient's data.

    ``text`` is made of ``html`` if there is none. ``to`` shows the address with a name beside it, as in
    ``{{ name }} <{{ email }}>``; ``from_email`` is DEFAULT_FROM_EMAIL if it is empty. ``attachments`` are the same for
    everybody: see ``pack_attachments``.
    """

    subject: str
    text: str = ""
    html: str = ""
    from_email: str = ""
    to: str = ""
    reply_to: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    attachments: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        for name in ("subject", "text", "html", "from_email", "to"):
            if not isinstance(value := getattr(self, name), str):
                raise TypeError(f"{name} of a template is a str, not {type(value).__name__}")
        if not isinstance(self.reply_to, tuple):
            raise TypeError(f"reply_to of a template is a tuple, not {type(self.reply_to).__name__}")

    def blobs(self) -> dict[str, int]:
        """Octets of each large part that it refers to, by content hash."""
        return {blob.sha256: blob.size for blob in chain.from_iterable(part.blobs() for part in self.attachments)}

    def compile(
        self, attachments: Mapping[str, bytes] = _NOTHING, *, origins: Mapping[str, Origin] = _NOTHING
    ) -> Compiled:
        """Make it ready to render.

        Args:
            attachments: the blobs of its large attachments by their content hashes; WireError if one is lacking.
            origins: where the texts of its fields were read, for errors.

        Raises:
            TemplateError: a field is no template, or cannot become part of a message.
            ImproperlyConfigured: Jinja2 is not installed.
        """
        return Compiled(self, [unpack_attachment(part, attachments) for part in self.attachments], origins)


def pack_attachments(entries: Iterable[Any]) -> tuple[tuple[Part, ...], dict[str, bytes]]:
    """Attachments as ``EmailMessage.attachments`` has them, as a template keeps them; and the large ones' blobs.

    Raises:
        MessageTooLarge: They are above MAILQUEUE_MAX_MESSAGE_BYTES, as encoded for mail.
        InvalidMessage: for content that is none; and what ``EmailMessage.attach()`` raises.
    """
    luggage = Luggage()
    described = EmailMessage(from_email="-", attachments=entries).attachments
    for entry in described:
        if isinstance(entry, tuple) and (why := refusal_of_name(entry[0] or "")):
            raise InvalidMessage(why)
    parts = tuple([pack_attachment(entry, luggage) for entry in described])
    limit = conf.get("MAILQUEUE_MAX_MESSAGE_BYTES")
    if luggage.size > limit:
        raise MessageTooLarge(
            f"the attachments have about {luggage.size} octets, and MAILQUEUE_MAX_MESSAGE_BYTES is {limit}",
            size=luggage.size,
            limit=limit,
        )
    return parts, luggage.blobs


def refusal_of_name(name: str) -> str:
    """Why an attachment cannot be called ``name``; "" if it can. The dry run of recipients leaves attachments out."""
    if not is_line(name):
        return f"{name[:80]!r} cannot be the name of an attachment: it has a line break or a control character"
    if len(name.encode()) > _LONGEST_NAME:
        return f"{name[:80]!r}... cannot be the name of an attachment: it has more than {_LONGEST_NAME} octets"
    return ""


class Compiled:
    """A template made ready: ``render`` gives the message for one recipient. It may be shared by threads."""

    def __init__(self, template: Template, attachments: Sequence[Any], origins: Mapping[str, Origin]) -> None:
        self._attachments = list(attachments)
        #: Pictures that the HTML shows belong to it (RFC 2387); a file beside them is for itself.
        related = bool(attachments) and all(_is_inline(entry) for entry in attachments)
        self._mixed_subtype = "related" if related else EmailMessage.mixed_subtype
        make = _Maker(origins)
        subject = make.field("subject", template.subject)
        self._text = make.field("text", template.text, "text") if template.text else None
        self._html = make.field("html", template.html, "html") if template.html else None
        self._from = make.mailbox("from", template.from_email)
        self._to = make.mailbox("to", template.to)
        reply_to = [make.mailbox("reply_to", source) for source in template.reply_to]
        headers = [(name, make.header(name, source)) for name, source in template.headers.items()]
        if not (template.text or template.html):
            make.refuse("text", "it has neither text nor html")
        if not template.subject.strip():
            make.refuse("subject", "it is empty")
        make.finish()
        assert subject is not None
        self._subject = subject
        self._derived = DerivedText(self._html.pieces if self._html and not self._text else None)
        self._reply_to = [box for box in reply_to if box is not None]
        self._headers = [(name, field) for name, field in headers if field is not None]
        self._plan_check()

    def variables(self) -> frozenset[str]:
        """The names that the data must give; those that are tested first (``is defined``) are among them."""
        return frozenset(chain.from_iterable(field.names for field in self._fields())) - {"email", "data"}

    def render(self, address: str, data: Mapping[str, Any], extra: Mapping[str, Any] = _NOTHING) -> EmailMessage:
        """The message for ``address``, a bare one as ``recipients.read`` gives it.

        Templates see ``data``'s names, ``email`` (the address, unless the data say otherwise), ``data`` as a whole, and
        ``extra``, which wins over all.

        Raises:
            TemplateError: with the field, and the line in it: a name is undefined, a value is none for its place.
        """
        variables = _variables(address, data, extra)
        message = self._message(address, variables)
        if self._attachments:
            message.attachments = self._attachments.copy()
            message.mixed_subtype = self._mixed_subtype
        return message

    def check(self, address: str, data: Mapping[str, Any], extra: Mapping[str, Any] = _NOTHING) -> None:
        """The dry run of one recipient: raises what ``render`` would raise, or the building of its message.

        Renders no more than it has to: where values are just put in, it is enough to look at them.
        """
        variables = _variables(address, data, extra)
        if not self._is_sure(variables):
            message = self._message(address, variables)
            if not passes(message):
                _build(message)
            return
        if self._may_lack_subject:
            self._render_subject(variables)
        for box in self._boxes:
            box.render(variables)
        if self._to is not None:
            self._recipient(address, variables)

    # -- rendering

    def _message(self, address: str, variables: dict[str, Any]) -> EmailMessage:
        html = None if self._html is None else self._html.render(variables)
        if self._text is not None:
            text = self._text.render(variables)
        else:
            assert html is not None
            text = self._derived.render(html, variables)
        sender = None if self._from is None else self._from.render(variables)[0]
        subject = self._render_subject(variables)
        headers = {name: value for name, field in self._headers if (value := field.constant or field.render(variables))}
        to = [address if self._to is None else self._recipient(address, variables)]
        reply_to = [box.render(variables)[0] for box in self._reply_to]
        if html is None:
            return EmailMessage(subject, text, sender, to, headers=headers, reply_to=reply_to)
        message = EmailMultiAlternatives(subject, text, sender, to, headers=headers, reply_to=reply_to)
        message.alternatives = [EmailAlternative(html, "text/html")]
        return message

    def _render_subject(self, variables: dict[str, Any]) -> str:
        subject = self._subject.constant or self._subject.render(variables)
        if not subject:
            raise self._subject.error("it comes out empty")
        return subject

    def _recipient(self, address: str, variables: dict[str, Any]) -> str:
        assert self._to is not None
        shown = self._to.field.render(variables)
        name, found, rest = shown.partition(f" <{address}>")
        if found and not rest and _PLAIN_NAME.fullmatch(name):  # as nearly all are
            return shown
        shown, spec = self._to.render(variables)
        if spec != address:
            raise self._to.field.error(f"it leads to {spec!r} instead of the recipient: end it in <{{{{ email }}}}>")
        return shown

    # -- the dry run

    def _plan_check(self) -> None:
        """Find out what can be seen of a recipient's values without rendering."""
        fields = [field for _, field in self._headers]
        fields += filter(None, (self._subject, self._text, self._html))
        varying = [field for field in fields if field.constant is None]
        self._boxes = [box for box in self._all_boxes() if box is not self._to]
        self._sure_names = frozenset(chain.from_iterable(field.names for field in varying))
        self._longest = min((field.longest for field in varying), default=_ANY)
        if any(name.lower() in ADDRESS_HEADERS for name, _ in self._headers):  # Sender: it is built to be tried
            self._longest = 0
        self._may_lack_subject = self._subject.constant is None and not self._subject.has_text

    def _is_sure(self, variables: dict[str, Any]) -> bool:
        """Whether every field surely renders but those that hold addresses: each puts in values that fit anywhere."""
        longest = self._longest
        if not longest:
            return False
        for name in self._sure_names:
            value: Any = variables.get(name)
            kind = type(value)
            if kind is str:
                if len(value) > longest or not value.isprintable():
                    return False
            elif not (kind is bool or ((kind is int or kind is float) and -_EXACT < value < _EXACT)):
                return False
        return True

    def _fields(self) -> Iterator[Field]:
        yield from filter(None, (self._subject, self._text, self._html))
        yield from (field for _, field in self._headers)
        yield from (box.field for box in self._all_boxes())

    def _all_boxes(self) -> Iterator[_Mailbox]:
        yield from filter(None, (self._from, self._to, *self._reply_to))


class _Maker:
    """Compiles the fields of a template, each of them, and then raises what is wrong with some."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins
        self._errors: list[TemplateError] = []
        self._headers: dict[str, str] = {}  # names, by those in lower case

    def field(self, name: str, source: str, kind: FieldKind = "line") -> Field | None:
        """A field; None if it has an error."""
        try:
            return Field(name, source, kind, self._origins.get(name, NOWHERE))
        except TemplateError as error:
            self._errors.append(error)
            return None

    def mailbox(self, name: str, source: str) -> _Mailbox | None:
        """A field that is an address; None if there is none, or it has an error."""
        field = self.field(name, source) if source else None
        if field is None:
            return None
        try:
            return _Mailbox(field)
        except TemplateError as error:
            self._errors.append(error)
            return None

    def header(self, name: str, source: str) -> Field | None:
        """A field among the headers; None if it has an error."""
        lower = name.lower()
        full = f"header {name}"
        if not _HEADER.fullmatch(name):
            self.refuse(full, f"{name!r} is no name of a header: letters, digits and hyphens")
        elif lower in _TAKEN or lower.startswith(_MIME):
            self.refuse(full, _TAKEN.get(lower, _OURS))
        elif lower in self._headers:
            self.refuse(full, f"it is there as {self._headers[lower]!r} already")
        self._headers[lower] = name
        return self.field(full, source)

    def refuse(self, name: str, message: str) -> None:
        """Take note of an error of the field ``name``."""
        self._errors.append(self._origins.get(name, NOWHERE).error(message, name))

    def finish(self) -> None:
        """Raise what is wrong, all of it."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise TemplateError("\n".join(map(str, self._errors)), errors=self._errors)


class _Mailbox:
    """A field that is one address, with or without a name; a constant one is read once."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._constant = None if field.constant is None else self._read(field.constant)

    def render(self, variables: dict[str, Any]) -> tuple[str, str]:
        """As a header shows it, and its bare address; raises TemplateError."""
        return self._constant or self._read(self.field.render(variables))

    def _read(self, text: str) -> tuple[str, str]:
        try:
            return mailbox(text)
        except RecipientError as error:
            raise self.field.error(str(error)) from None


def _variables(address: str, data: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    return {**global_names(), "data": data, "email": address, **data, **extra}


def _is_inline(entry: Any) -> bool:
    return not isinstance(entry, tuple) and "Content-ID" in entry


def _build(message: EmailMessage) -> None:
    """Build what does not pass at a glance, to see whether it can be."""
    try:
        message.message()
    except ValueError as error:
        raise TemplateError(f"no message can be made of it: {error}") from error
