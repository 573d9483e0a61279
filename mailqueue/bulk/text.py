"""The plain text of a message that has HTML alone: what it says, by paragraphs, lists and links."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    _Attributes: TypeAlias = dict[str, str | None]

__all__ = ["text_of"]

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
_HIDDEN: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_NO_PLACE: Final = re.compile(r"#|javascript:|data:", re.IGNORECASE)
_PERSON: Final = re.compile(r"(?:mailto|tel|sms):([^?]*)", re.IGNORECASE)
_SECTION: Final = re.compile(r"<!\[[^>]*>?")  # of SGML; one of unknown kind is an error for the parser
_DEEPEST: Final = 6  # lists in lists are set in that far
_RULE: Final = "-" * 40


def text_of(html: str) -> str:
    """What a reader sees of ``html``, as plain text; any text has one."""
    try:
        return _Reader().read(html)
    except AssertionError:
        return _Reader().read(_SECTION.sub("", html))


class _Reader(HTMLParser):
    """Writes the text while the parser goes along.

    White space is owed, and is put out before the next word; so none is at the end of a line, and blank lines are one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._out: list[str] = []
        self._breaks = 1  # line ends owed
        self._blank = False  # a space owed
        self._marker = ""  # of an item of a list, owed
        self._quotes = 0  # that are open, and were when the last line began
        self._quoted = 0
        self._lists: list[int | None] = []  # the number of the item, of those that are numbered
        self._links: list[tuple[str, int]] = []
        self._unseen = ""  # the element that is being left out, and how often it is open
        self._unseen_depth = 0
        self._pre = 0

    def read(self, html: str) -> str:
        self.feed(html)
        self.close()
        text = "".join(self._out).strip("\n")
        return f"{text}\n" if text else ""

    # -- what the parser calls

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if self._unseen:
            self._unseen_depth += tag == self._unseen
            return
        if tag not in _VOID and (tag in _UNSEEN or _is_hidden(attrs)):
            self._unseen, self._unseen_depth = tag, 1
            return
        self._break(tag)
        if start := self._STARTS.get(tag):
            start(self, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            self._unseen_depth -= tag == self._unseen
            if not self._unseen_depth:
                self._unseen = ""
            return
        match tag:
            case "a" if self._links:
                self._link(*self._links.pop())
            case "ul" | "ol" if self._lists:
                self._lists.pop()
                self._marker = ""
            case "blockquote" if self._quotes:
                self._quotes -= 1
            case "pre" if self._pre:
                self._pre -= 1
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen or not data:
            return
        if self._pre:
            self._verbatim(data)
            return
        words = data.split()
        if not words or data[0].isspace():
            self._blank = True
        if words:
            self._put(" ".join(words))
            self._blank = data[-1].isspace()

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

    def _line_break(self, _: _Attributes) -> None:
        self._breaks += 1

    def _rule(self, _: _Attributes) -> None:
        self._put(_RULE)
        self._breaks = 2

    def _image(self, attributes: _Attributes) -> None:
        self.handle_data(attributes.get("alt") or "")

    def _cell(self, _: _Attributes) -> None:
        if self._out and not self._breaks:
            self._out.append(" ")
            self._blank = True

    def _list(self, _: _Attributes) -> None:
        self._lists.append(None)

    def _numbered_list(self, _: _Attributes) -> None:
        self._lists.append(0)

    def _item(self, _: _Attributes) -> None:
        if not self._lists or (number := self._lists[-1]) is None:
            self._marker = "- "
        else:
            self._lists[-1] = number + 1
            self._marker = f"{number + 1}. "

    def _quote(self, _: _Attributes) -> None:
        self._quotes += 1

    def _preformatted(self, _: _Attributes) -> None:
        self._pre += 1

    def _anchor(self, attributes: _Attributes) -> None:
        self._links.append(((attributes.get("href") or "").strip(), len(self._out)))

    def _link(self, href: str, start: int) -> None:
        if not href or _NO_PLACE.match(href):
            return
        if person := _PERSON.fullmatch(href):
            href = person[1]
        text = "".join(self._out[start:]).strip()
        if text.lower() in (href.lower(), href.lower().partition("//")[2].rstrip("/")):
            return
        owed = self._breaks
        if text:
            self._breaks, self._blank = 0, True
        self._put(f"({href})" if text else href)
        self._breaks = owed if text else 0

    _STARTS: ClassVar[Mapping[str, Callable[[_Reader, _Attributes], None]]] = {
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


def _is_hidden(attrs: Sequence[tuple[str, str | None]]) -> bool:
    return any(
        name == "hidden" or (name == "style" and value is not None and _HIDDEN.search(value)) for name, value in attrs
    )
