"""The plain text of a message that has HTML alone: what it says, by paragraphs, lists and links."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ATTRIBUTE", "TOKEN", "text_of"]

#: A tag, or what is left out with all that is in it. The tokenizer of the standard library takes three times as long,
#: and raises for some sections of SGML. A tag that does not end takes the rest, as in browsers (and in linear time).
TOKEN: Final = re.compile(
    r"""
      <(?P<raw>script|style)\b[^>]*>.*?(?:</(?P=raw)\s*>|\Z)
    | <!--.*?(?:-->|\Z)
    | <(?P<end>/?)(?P<tag>[a-z][^\s/>]*)(?P<attributes>(?:[^>=]++|=\s*"[^"]*"|=\s*'[^']*'|=)*+)(?:>|\Z)
    | <[!?/][^>]*(?:>|\Z)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
#: Its name, and its value in one of three groups.
ATTRIBUTE: Final = re.compile(r"""(?<![^\s=/>"'])([^\s=/>"']+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""")
#: Elements that begin and end a line; the latter have a blank line around them.
_LINES: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "body",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "html",
        "li",
        "main",
        "nav",
        "section",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
    ]
)
_PARAGRAPHS: Final = frozenset(["blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "ul"])
_UNSEEN: Final = frozenset(["head", "noscript", "script", "style", "template", "title"])
_VOID: Final = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_HIDDEN: Final = re.compile(r"display\s*:\s*none|(?:^|\s)hidden(?=[\s=]|$)", re.IGNORECASE)
_NO_PLACE: Final = re.compile(r"#|javascript:|data:", re.IGNORECASE)
_PERSON: Final = re.compile(r"(?:mailto|tel|sms):([^?]*)", re.IGNORECASE)
_DEEPEST: Final = 6  # lists in lists are set in that far
_RULE: Final = "-" * 40


def text_of(source: str) -> str:
    """What a reader sees of the HTML ``source``, as plain text; there is some text for whatever it is given."""
    writer = _Writer()
    position = 0
    for found in TOKEN.finditer(source):
        if found.start() > position:
            writer.text(source[position : found.start()])
        position = found.end()
        if tag := found["tag"]:
            tag = tag.lower()
            if found["end"]:
                writer.end(tag)
            else:
                writer.start(tag, found["attributes"])
    writer.text(source[position:])
    return writer.written()


class _Writer:
    """Writes the text while the HTML is gone through.

    White space is owed, and is put out before the next word; so none is at the end of a line, and blank lines are one.
    """

    def __init__(self) -> None:
        self._out: list[str] = []
        self._breaks = 1  # line ends owed
        self._blank = False  # a space owed
        self._marker = ""  # of an item of a list, owed
        self._quotes = 0  # that are open, and were when the last line began
        self._quoted = 0
        self._lists: list[int | None] = []  # the number of the item, of those that are numbered
        self._open_link: tuple[str, int] | None = None  # its address, and what had been put out before
        self._unseen = ""  # the element that is being left out, and how often it is open
        self._unseen_depth = 0
        self._pre = 0

    def written(self) -> str:
        """All of it."""
        text = "".join(self._out).strip("\n")
        return f"{text}\n" if text else ""

    # -- what there is in HTML

    def start(self, tag: str, attributes: str) -> None:
        """The start of an element."""
        if self._unseen:
            self._unseen_depth += tag == self._unseen
            return
        if tag not in _VOID and (tag in _UNSEEN or (attributes and _HIDDEN.search(attributes))):
            self._unseen, self._unseen_depth = tag, 1
            return
        self._break(tag)
        if start := self._STARTS.get(tag):
            start(self, attributes)

    def end(self, tag: str) -> None:
        """The end of an element, whether it was open or not."""
        if self._unseen:
            self._unseen_depth -= tag == self._unseen
            if not self._unseen_depth:
                self._unseen = ""
            return
        match tag:
            case "a":
                self._link()
            case "ul" | "ol" if self._lists:
                self._lists.pop()
                self._marker = ""
            case "blockquote" if self._quotes:
                self._quotes -= 1
            case "pre" if self._pre:
                self._pre -= 1
        self._break(tag)

    def text(self, source: str) -> None:
        """What stands between tags."""
        if self._unseen or not source:
            return
        text = html.unescape(source) if "&" in source else source
        if self._pre:
            self._verbatim(text)
            return
        words = text.split()
        if not words or text[0].isspace():
            self._blank = True
        if words:
            self._put(" ".join(words))
            self._blank = text[-1].isspace()

    # -- writing

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            tight = self._lists and tag in ("ul", "ol", "p")  # an item's paragraphs, and lists in lists, stand close
            self._breaks = max(self._breaks, 1 if tight else 2)
        elif tag in _LINES:
            self._breaks = max(self._breaks, 1)

    def _put(self, text: str) -> None:
        if self._breaks:
            depth = min(len(self._lists), _DEEPEST)
            quote = "> " * min(self._quotes, _DEEPEST)
            if self._out:
                shared = "> " * min(self._quotes, self._quoted, _DEEPEST)  # of the lines before and after
                self._out.append(f"\n{shared.rstrip()}\n" if self._breaks > 1 else "\n")
            self._out.append(quote + ("  " * (depth - 1) + self._marker if self._marker else "  " * depth))
            self._breaks = 0
            self._quoted = self._quotes
            self._marker = ""
        elif self._blank:
            self._out.append(" ")
        self._blank = False
        self._out.append(text)

    def _verbatim(self, data: str) -> None:
        for number, line in enumerate(data.split("\n")):
            if number:
                self._breaks += 1
            if line.strip():
                self._put(line.rstrip())

    # -- elements that do more than to begin a line

    def _line_break(self, _: str) -> None:
        self._breaks += 1

    def _rule(self, _: str) -> None:
        self._put(_RULE)
        self._breaks = 2

    def _image(self, attributes: str) -> None:
        self.text(_attribute(attributes, "alt"))

    def _cell(self, _: str) -> None:
        if self._out and not self._breaks:
            self._out.append(" ")
            self._blank = True

    def _list(self, _: str) -> None:
        self._lists.append(None)

    def _numbered_list(self, _: str) -> None:
        self._lists.append(0)

    def _item(self, _: str) -> None:
        if not self._lists or (number := self._lists[-1]) is None:
            self._marker = "- "
        else:
            self._lists[-1] = number + 1
            self._marker = f"{number + 1}. "

    def _quote(self, _: str) -> None:
        self._quotes += 1

    def _preformatted(self, _: str) -> None:
        self._pre += 1

    def _anchor(self, attributes: str) -> None:
        self._link()  # links are not in links: another one ends the one before
        self._open_link = html.unescape(_attribute(attributes, "href")).strip(), len(self._out)

    def _link(self) -> None:
        """The end of a link."""
        href, start = self._open_link or ("", 0)
        self._open_link = None
        if not href or _NO_PLACE.match(href):
            return
        if person := _PERSON.match(href):
            href = person[1]
        text = "".join(self._out[start:]).strip()
        if text.lower() in (href.lower(), href.lower().partition("//")[2].rstrip("/")):
            return
        owed = self._breaks
        if text:
            self._breaks, self._blank = 0, True
        self._put(f"({href})" if text else href)
        self._breaks = owed if text else 0

    _STARTS: ClassVar[Mapping[str, Callable[[_Writer, str], None]]] = {
        "a": _anchor,
        "blockquote": _quote,
        "br": _line_break,
        "hr": _rule,
        "img": _image,
        "li": _item,
        "ol": _numbered_list,
        "pre": _preformatted,
        "td": _cell,
        "th": _cell,
        "ul": _list,
    }


def _attribute(attributes: str, name: str) -> str:
    """The value of an attribute as it is written, entities and all; empty if there is none."""
    for found in ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return found[2] or found[3] or found[4] or ""
    return ""
