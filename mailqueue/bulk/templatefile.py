"""A template in a file: template.toml with the texts and files that it names, and the options of its campaign.

Everything that is wrong with it is told at once, each mistake with its line.
"""

from __future__ import annotations

import mimetypes
import re
import tomllib
from email.encoders import encode_base64
from email.mime.base import MIMEBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mailqueue.bulk.campaigntable import campaign_options
from mailqueue.bulk.sandbox import Origin
from mailqueue.bulk.template import Template, pack_attachments, refusal_of_name
from mailqueue.bulk.tomlplaces import Places, places
from mailqueue.conf.nearest import nearest
from mailqueue.errors import InvalidMessage, TemplateError
from mailqueue.mail.attachments import DEFAULT_ATTACHMENT_MIME_TYPE, EmailAttachment

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from mailqueue.bulk.tomlplaces import Path as Keys

__all__ = ["ATTACHMENT_KEYS", "KEYS", "TemplateFile", "load"]

KEYS: Final = (
    *("subject", "from", "to", "reply_to", "text", "text_file", "html", "html_file"),
    *("attachments", "headers", "campaign"),
)
ATTACHMENT_KEYS: Final = ("file", "name", "type", "inline", "cid")
_TYPE: Final = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*", re.ASCII)
_CID: Final = re.compile(r"[A-Za-z0-9._+-]+(?:@[A-Za-z0-9.-]+)?", re.ASCII)
_SHOWN_CID: Final = re.compile(r"""\bcid:([A-Za-z0-9._+@-]+)(?=["'\s)>])""")
_UNREAD: Final = "-"  # stands for a text that could not be read, so that it is not told to be empty as well
_AT_LINE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


class TemplateFile(NamedTuple):
    """What a template file has in it.

    ``options`` are arguments of ``bulk.send``; ``blobs`` are the large attachments by their content hashes; with
    ``origins``, ``Template.compile`` tells errors by the lines of the files.
    """

    template: Template
    options: dict[str, Any]
    blobs: dict[str, bytes]
    origins: dict[str, Origin]


def load(path: str | os.PathLike[str]) -> TemplateFile:
    """Read a template file (docs/bulk-files.md), and try the template.

    Raises:
        TemplateError: for what is wrong in it, with its line; if there is more than that, all of it is in ``errors``.
        OSError: it cannot be read.
        ImproperlyConfigured: Jinja2 is not installed.
    """
    return _Loading(Path(path)).load()


class _Loading:
    """One file, while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._errors: list[TemplateError] = []
        self._places = Places()
        self._origins: dict[str, Origin] = {}
        self._table: dict[str, Any] = {}

    def load(self) -> TemplateFile:
        content = _decoded(self._path.read_bytes(), "", str(self._path)).replace("\r\n", "\n")
        try:
            self._table = tomllib.loads(content)
        except (ValueError, RecursionError) as error:  # the latter, and a number of thousands of digits, are Python's
            raise self._no_toml(str(error), content) from None
        self._places = places(content)
        self._refuse_unknown(self._table, KEYS)
        template, blobs = self._template()
        options = campaign_options(self._campaign(), self._refuse)
        try:
            template.compile(blobs, origins=self._origins)
        except TemplateError as error:
            self._errors += error.errors or (error,)
        self._finish()
        return TemplateFile(template, options, blobs, self._origins)

    # -- errors

    def _refuse(self, keys: Keys, message: str) -> None:
        self._errors.append(
            TemplateError(message, field=_dotted(keys), line=self._places.line(keys), file=str(self._path))
        )

    def _refuse_unknown(self, table: Iterable[str], known: Iterable[str], path: Keys = ()) -> None:
        known = tuple(known)
        for name in table:
            if name not in known:
                hint = nearest(name, known) or f"; there are {', '.join(known)}"
                self._refuse((*path, name), f"there is no key of this name{hint}")

    def _no_toml(self, message: str, content: str) -> TemplateError:
        found = _AT_LINE.search(message)
        line = int(found[1]) if found and found[1] else content.count("\n") + 1
        return TemplateError(f"it is no TOML: {_AT_LINE.sub('', message)}", line=line, file=str(self._path))

    def _finish(self) -> None:
        self._errors.sort(key=lambda error: (error.file != str(self._path), error.file, error.line or 0))
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise TemplateError("\n".join(map(str, self._errors)), file="", errors=self._errors)

    # -- the template

    def _template(self) -> tuple[Template, dict[str, bytes]]:
        html = self._body("html")
        entries = self._attachments(html)
        try:
            parts, blobs = pack_attachments(entries)
        except InvalidMessage as error:
            self._refuse(("attachments",), str(error))
            parts, blobs = (), {}
        template = Template(
            subject=self._text("subject", _UNREAD),
            text=self._body("text"),
            html=html,
            from_email=self._text("from"),
            to=self._text("to"),
            reply_to=self._reply_to(),
            headers=self._headers(),
            attachments=parts,
        )
        return template, blobs

    def _text(self, key: str, unread: str = "") -> str:
        value = self._table.get(key, "")
        self._origins[key] = self._origin((key,))
        return self._checked_text((key,), value) or (unread if value else "")

    def _checked_text(self, keys: Keys, value: Any) -> str:
        if isinstance(value, str):
            return value
        self._refuse(keys, f"it is text, in quotes, not {_kind(value)}")
        return ""

    def _origin(self, keys: Keys) -> Origin:
        if inside := self._places.texts.get(keys):
            return Origin(str(self._path), inside)
        return Origin(str(self._path), self._places.line(keys), pinned=True)

    def _body(self, key: str) -> str:
        """The text under ``key``, or that of the file under ``key_file``."""
        other = f"{key}_file"
        if other not in self._table:
            return self._text(key, _UNREAD)
        if key in self._table:
            self._refuse((other,), f"there is {key} as well: leave one of them out")
            return self._text(key, _UNREAD)
        name = self._checked_text((other,), self._table[other])
        if not name:
            return _UNREAD
        octets = self._file((other,), name)
        path = str(self._path.parent / name)
        self._origins[key] = Origin(path)
        if octets is None:
            return _UNREAD
        try:
            return _decoded(octets, key, path)
        except TemplateError as error:
            self._errors.append(error)
            return _UNREAD

    def _file(self, keys: Keys, name: str) -> bytes | None:
        path = self._path.parent / name
        try:
            return path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._refuse(keys, f"{path} cannot be read: {reason}; paths count from where the template file is")
            return None

    def _reply_to(self) -> tuple[str, ...]:
        value = self._table.get("reply_to", [])
        self._origins["reply_to"] = self._origin(("reply_to",))
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list):
            self._refuse(("reply_to",), f"it is an address or an array of them, not {_kind(value)}")
            return ()
        return tuple(self._checked_text(("reply_to", place), entry) for place, entry in enumerate(value))

    def _headers(self) -> dict[str, str]:
        value = self._table.get("headers", {})
        if not isinstance(value, dict):
            self._refuse(("headers",), "it is a table, [headers], of names and values")
            return {}
        headers = {}
        for name, entry in value.items():
            self._origins[f"header {name}"] = self._origin(("headers", name))
            headers[name] = self._checked_text(("headers", name), entry)
        return headers

    def _campaign(self) -> dict[str, Any]:
        value = self._table.get("campaign", {})
        if isinstance(value, dict):
            return value
        self._refuse(("campaign",), "it is a table, [campaign], of options")
        return {}

    # -- attachments

    def _attachments(self, html: str) -> list[Any]:
        value = self._table.get("attachments", [])
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self._refuse(("attachments",), f"it is an array of files, not {_kind(value)}")
            return []
        entries = []
        pictures: set[str] = set()
        for place, entry in enumerate(value):
            keys: Keys = ("attachments", place)
            if isinstance(entry, str):
                entry = {"file": entry}  # noqa: PLW2901 - the short form
            if not isinstance(entry, dict):
                self._refuse(keys, f"it is a file's name or a table with file, not {_kind(entry)}")
            elif (made := self._attachment(keys, entry, pictures)) is not None:
                entries.append(made)
        for cid in sorted(set(_SHOWN_CID.findall(html)) - pictures):
            self._refuse(
                ("attachments",), f"the html shows cid:{cid}, and no file here has inline = true and cid = {cid!r}"
            )
        return entries

    def _attachment(self, keys: Keys, entry: Mapping[str, Any], pictures: set[str]) -> Any:
        self._refuse_unknown(entry, ATTACHMENT_KEYS, keys)
        if "file" not in entry:
            self._refuse(keys, "it has no file")
            return None
        texts = {key: self._checked_text((*keys, key), entry.get(key, "")) for key in ("file", "name", "type", "cid")}
        inline = entry.get("inline", bool(texts["cid"]))
        if not isinstance(inline, bool):
            self._refuse((*keys, "inline"), f"it is true or false, not {_kind(inline)}")
        octets = self._file(keys, texts["file"]) if texts["file"] else None
        name = texts["name"] or Path(texts["file"]).name
        mimetype = texts["type"] or mimetypes.guess_type(name)[0] or DEFAULT_ATTACHMENT_MIME_TYPE
        if not _TYPE.fullmatch(mimetype):
            self._refuse((*keys, "type"), f"{mimetype!r} is no MIME type such as application/pdf")
            return None
        cid = texts["cid"] or name
        if inline and not _CID.fullmatch(cid):
            self._refuse(keys, f"{cid!r} cannot be a cid: letters, digits and . _ + - (give one with cid = ...)")
            return None
        if inline:
            if cid in pictures:
                self._refuse(keys, f"two files have the cid {cid!r}")
            pictures.add(cid)
        if why := refusal_of_name(name):
            self._refuse((*keys, "name"), why)
            return None
        if octets is None:
            return None
        return _picture(octets, name, mimetype, cid) if inline else EmailAttachment(name, octets, mimetype)


def _picture(octets: bytes, name: str, mimetype: str, cid: str) -> MIMEBase:
    """A file that the HTML shows as ``cid:`` (RFC 2392)."""
    part = MIMEBase(*mimetype.split("/"))
    part.set_payload(octets)
    encode_base64(part)
    part.add_header("Content-ID", f"<{cid}>")
    part.add_header("Content-Disposition", "inline", filename=name if name.isascii() else ("utf-8", "", name))
    return part


def _decoded(octets: bytes, field: str, file: str) -> str:
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        raise TemplateError("it is no UTF-8: save the file as UTF-8", field=field, line=line, file=file) from None


def _dotted(keys: Keys) -> str:
    """``attachments[0].file``, with numbers as people count."""
    text = ""
    for key in keys:
        text += f"[{key + 1}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "an array", dict: "a table"}
    return names.get(type(value), f"a {type(value).__name__}")
