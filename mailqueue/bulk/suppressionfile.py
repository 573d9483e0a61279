"""Suppression lists as CSV (RFC 4180): key, list, reason, source, at. Read and written as a stream, with flat memory.

Leaves the store to ``suppression``.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

from mailqueue.bulk.address import normalise
from mailqueue.bulk.recipientfile import csv_reason
from mailqueue.errors import InvalidMessage, RecipientError
from mailqueue.ledger.suppressions import Suppression, key_of, list_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["COLUMNS", "Imported", "Rows", "entry_of", "write_rows"]

#: The columns, in the order that they have in a file without a header.
COLUMNS: Final = ("key", "list", "reason", "source", "at")
_OTHER_NAMES: Final = {"address": "key", "email": "key", "domain": "key", "created": "at", "date": "at"}
_MOST_PROBLEMS: Final = 100
_DOMAIN: Final = re.compile(r"@\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)


@dataclass(slots=True)
class Imported:
    """What came of an import: rows read, entries that are new, and what was skipped, the first 100 by row and column."""

    rows: int = 0
    new: int = 0
    skipped: int = 0
    problems: list[RecipientError] = field(default_factory=list)


def write_rows(file: IO[str], entries: Iterable[Suppression]) -> int:
    """Write ``entries`` with a header; returns their number."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    number = 0
    for entry in entries:
        writer.writerow((entry.key, entry.list, entry.reason, entry.source, _written(entry.at)))
        number += 1
    return number


def entry_of(text: str) -> str:
    """The key that ``text`` stands for: an address, ``@example.com``, or ``@.example.com`` for all that is below that.

    Raises RecipientError.
    """
    text = text.strip()
    if not text.startswith("@"):
        domain = text.removeprefix("*@") if text.startswith("*@") or "@" not in text else ""
        if "." in domain:
            raise RecipientError(f"{text[:80]!r} is no address; a domain is written @{domain[:80].lstrip('*.')}")
        return normalise(text)
    key = key_of(text)
    if not _DOMAIN.fullmatch(key):
        raise RecipientError(
            f"{text[:80]!r} is no domain; write it as @example.com, or @.example.com for those below it"
        )
    return key


class Rows:
    """The suppressions in a file, one by one; tallies what it reads in ``done``."""

    def __init__(self, file: IO[str], name: str, usual: Suppression, done: Imported, *, skip: bool) -> None:
        self._file = file
        self._name = name
        self._usual = usual
        self._done = done
        self._skip = skip
        self._reader: Any = None
        self._row = 1  # the line on which the row begins

    def __iter__(self) -> Iterator[Suppression]:
        columns: tuple[str, ...] | None = None
        for cells in self._cells():
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = self._header(cells)
                if columns:
                    continue
                columns = COLUMNS
            self._done.rows += 1
            try:
                suppression = self._read(columns, cells)
            except RecipientError as problem:
                self._pass_over(problem)
            else:
                yield suppression

    def _cells(self) -> Iterator[list[str]]:
        try:
            first = next(self._file, "")
            lines = itertools.chain([first.removeprefix("\ufeff")], self._file)
            self._reader = csv.reader(lines, delimiter=_delimiter(first), strict=True)
            while True:
                self._row = self._reader.line_num + 1
                try:
                    yield next(self._reader)
                except csv.Error as error:
                    self._done.rows += 1
                    self._pass_over(self._problem(csv_reason(error), ""))
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            raise self._problem(f"it is no UTF-8 from its octet {error.start} on; save it as UTF-8", "") from None

    def _pass_over(self, problem: RecipientError) -> None:
        """Go on after a wrong row, if it is to be skipped: one of several lines has swallowed others, which are not."""
        if not self._skip or self._reader.line_num > self._row:
            raise problem
        self._done.skipped += 1
        if len(self._done.problems) < _MOST_PROBLEMS:
            self._done.problems.append(problem)

    def _header(self, cells: list[str]) -> tuple[str, ...]:
        """The columns that the first row names; none if it is no header."""
        named = [_OTHER_NAMES.get(cell.strip().lower(), cell.strip().lower()) for cell in cells]
        if "key" not in named:
            return ()
        unknown = [cell for cell in named if cell and cell not in COLUMNS]
        if unknown:
            raise self._problem(f"there is no column {unknown[0]!r}; there are {', '.join(COLUMNS)}", unknown[0])
        if len(set(named)) < len(named):
            raise self._problem("two columns have one name", "")
        return tuple(named)

    def _read(self, columns: tuple[str, ...], cells: list[str]) -> Suppression:
        if len(cells) > len(columns):
            raise self._problem(f"it has {len(cells)} columns, and there are {len(columns)}", "")
        given = {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
        with self._told("key"):
            key = entry_of(given.get("key", ""))
        with self._told("list"):
            name = list_of(given.get("list") or self._usual.list)
        with self._told("at"):
            at = _moment(given.get("at", ""))
        reason = given.get("reason") or self._usual.reason
        return Suppression(key, name, reason, given.get("source", self._usual.source), at)

    @contextlib.contextmanager
    def _told(self, column: str) -> Iterator[None]:
        """What is wrong in this block is so in ``column``."""
        try:
            yield
        except InvalidMessage as error:
            raise self._problem(str(error), column) from None

    def _problem(self, sentence: str, column: str) -> RecipientError:
        last = getattr(self._reader, "line_num", 0)
        if last > self._row:
            sentence += f"; it goes on to line {last}: is a double quote not closed?"
        return RecipientError(sentence, row=self._row, column=column, file=self._name)


def _delimiter(line: str) -> str:
    """What separates the columns: whichever stands first of the three; no key has one of them."""
    return next((character for character in line if character in ",;\t"), ",")


def _moment(text: str) -> float:
    """Seconds since the epoch, from a number of them or ISO 8601 (UTC if it does not say); 0.0 for none."""
    if not text:
        return 0.0
    try:
        moment = float(text) if text.replace(".", "", 1).isdigit() else _parsed(text)
    except (ValueError, OverflowError):
        moment = -1.0
    if not 0 <= moment < 1e11:
        raise InvalidMessage(f"{text[:40]!r} is no time; write 2026-11-28T19:00:00Z, 2026-11-28, or s since the epoch")
    return moment


def _parsed(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
