"""The plain text of a template that has HTML alone: worked out once, where the values are only put into it.

Otherwise, and for values that HTML shows in another way than they are written, the text is made of each rendering.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mailqueue.bulk.text import ATTRIBUTE, TOKEN, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mailqueue.bulk.sandbox import Slot

__all__ = ["DerivedText"]

#: Characters that mean nothing, one of which stands for each variable while the text is worked out (Unicode's private
#: use area).
_FIRST: Final = 0xE000
_MANY: Final = 1000
_MARK: Final = re.compile("([\ue000-\uf8ff])")
_BEGUN_ENTITY: Final = re.compile("&#?[A-Za-z0-9]*[\ue000-\uf8ff]")
_QUOTED: Final = re.compile(r"""=\s*(?:"[^"]*"|'[^']*')""")
_WEB: Final = ("https://", "http://")


class DerivedText:
    """Makes the text that belongs to an HTML field, whose ``pieces`` are what the field puts out if that is simple.

    What it says is what ``text_of`` says of the rendered HTML; but for a link whose text turns out to be its address in
    one mail, which is then told in brackets all the same.
    """

    def __init__(self, pieces: Sequence[str | Slot] | None) -> None:
        self._parts: list[str] | None = None  # of the text: every second one is the name of a variable
        self._names: frozenset[str] = frozenset()
        self._addresses: frozenset[str] = frozenset()  # variables that are the whole address of a link
        if pieces is not None:
            self._plan(pieces)

    def render(self, source: str, variables: Mapping[str, Any]) -> str:
        """The text for the HTML ``source``, which was made of ``variables``."""
        if self._parts is None:
            return text_of(source)
        values = {}
        for name in self._names:
            value = variables[name]
            if type(value) is not str:
                value = str(value)
            if not value.isprintable() or "  " in value or value != value.strip() or not value:
                return text_of(source)
            values[name] = value
        if any(not values[name].startswith(_WEB) for name in self._addresses):
            return text_of(source)
        parts = self._parts.copy()
        parts[1::2] = [values[name] for name in parts[1::2]]
        return "".join(parts)

    def _plan(self, pieces: Sequence[str | Slot]) -> None:
        names = list(dict.fromkeys(piece.name for piece in pieces if not isinstance(piece, str)))
        if len(names) > _MANY or any(isinstance(piece, str) and _MARK.search(piece) for piece in pieces):
            return
        marks = {name: chr(_FIRST + number) for number, name in enumerate(names)}
        source = "".join([piece if isinstance(piece, str) else marks[piece.name] for piece in pieces])
        addresses = _addresses(source)
        if addresses is None or "<" in TOKEN.sub("", source) or _BEGUN_ENTITY.search(source):
            return
        named = {mark: name for name, mark in marks.items()}
        parts = _MARK.split(text_of(source))
        parts[1::2] = [named[mark] for mark in parts[1::2]]
        self._parts = parts
        self._names = frozenset(names)
        self._addresses = frozenset(named[mark] for mark in addresses)


def _addresses(source: str) -> set[str] | None:
    """The marks that are whole addresses of links; None if a mark stands where its value may change the structure."""
    found = set()
    for token in TOKEN.finditer(source):
        if not _MARK.search(token[0]):
            continue
        attributes = token["attributes"]
        if attributes is None or _MARK.search(token["tag"]) or _MARK.search(_QUOTED.sub("", attributes)):
            return None
        for attribute in ATTRIBUTE.finditer(attributes):
            name, value = attribute[1].lower(), attribute[2] or attribute[3] or ""
            mark = _MARK.search(value)
            if mark is None:
                continue
            if name == "style":
                return None
            if name == "href":
                if value == mark[0]:
                    found.add(value)
                elif "//" not in value[: mark.start()]:
                    return None
    return found
