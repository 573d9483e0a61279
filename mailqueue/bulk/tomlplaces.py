"""Where the keys of a TOML text stand: ``tomllib`` reads what they say, and does not tell."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Path", "Places", "places"]

#: The keys that lead to a value; numbers, from 0, are those of the elements of an array.
Path: TypeAlias = tuple[str | int, ...]

_TOKEN: Final = re.compile(
    r'''
      (?P<long>"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5} | \'\'\'(?:[^\']|\'{1,2}(?!\'))*\'{3,5})
    | (?P<text>"(?:[^"\\\n]|\\.)*" | '[^'\n]*')
    | (?P<comment>\#[^\n]*)
    | (?P<newline>\n)
    | (?P<mark>[\[\]{},=])
    | (?P<blank>[ \t\r]+)
    | (?P<bare>[^\s\[\]{},=\#"']+)
    ''',
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


@dataclass
class Places:
    """Lines, counted from 1, of keys, tables and elements of arrays; and of the first line inside of long texts."""

    lines: dict[Path, int] = field(default_factory=dict)
    texts: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of what ``path`` leads to, or of what comes nearest to it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def places(text: str) -> Places:
    """The places in ``text``, which is TOML; of what it cannot make out in there, it says nothing."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._found = Places()
        self._table: Path = ()
        self._counts: dict[Path, int] = {}  # of the tables in each array of tables

    def scan(self) -> Places:
        statement: list[_Token] = []
        for token in self._tokens:
            if token.kind in ("newline", "comment", "blank"):
                if token.kind == "newline" and statement:
                    self._header(statement)
                    statement = []
                continue
            if token.text == "=" and token.kind == "mark":
                self._key(statement)
                statement = []
            else:
                statement.append(token)
        if statement:
            self._header(statement)
        return self._found

    def _header(self, tokens: list[_Token]) -> None:
        path = _keys("".join(token.text for token in tokens).strip("[]"))
        if not path or tokens[0].text != "[":
            return
        self._table = path
        if len(tokens) > 1 and tokens[1].text == "[":
            count = self._counts.get(path, 0)
            self._counts[path] = count + 1
            self._table = (*path, count)
        self._found.lines.setdefault(path, tokens[0].line)
        self._found.lines.setdefault(self._table, tokens[0].line)

    def _key(self, tokens: list[_Token]) -> None:
        """A key, and what comes after it up to the end of its value."""
        keys = _keys("".join(token.text for token in tokens))
        path = (*self._table, *keys)
        if keys:
            self._found.lines.setdefault(path, tokens[0].line)
        depth = element = 0
        fresh = False  # the next token begins an element
        for token in self._tokens:
            if token.kind == "newline" and not depth:
                return
            if token.kind in ("newline", "comment", "blank"):
                continue
            if not depth and token.kind == "long":
                inside = token.line + token.text[3:].startswith(("\n", "\r\n"))
                self._found.texts.setdefault(path, inside)
            opening = token.kind == "mark" and token.text in "[{"
            closing = token.kind == "mark" and token.text in "]}"
            if fresh and not closing:
                self._found.lines.setdefault((*path, element), token.line)
                fresh = False
            if opening:
                depth += 1
                fresh = depth == 1 and token.text == "["
            elif closing:
                depth -= 1
            elif depth == 1 and token.text == "," and token.kind == "mark":
                element += 1
                fresh = True


def _tokens(text: str) -> Iterator[_Token]:
    line, position = 1, 0
    while found := _TOKEN.match(text, position):
        yield _Token(found.lastgroup or "", found[0], line)
        line += found[0].count("\n")
        position = found.end()


def _keys(text: str) -> Path:
    """The keys in a dotted one."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(value, dict):
        ((key, value),) = value.items()
        path.append(key)
    return tuple(path)
