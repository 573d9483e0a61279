"""Suppression lists as CSV (RFC 4180): key, list, reason, source, at. Read and written as a stream, with flat memory."""

from __future__ import annotations

import contextlib
import csv
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from mailqueue.bulk.suppression import add_all, entries, entry_of
from mailqueue.errors import InvalidMessage, RecipientError
from mailqueue.ledger.suppressions import Suppression, list_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["COLUMNS", "Imported", "export_csv", "import_csv"]

#: The columns, in the order that they have in a file without a header.
COLUMNS: Final = ("key", "list", "reason", "source", "at")
_OTHER_NAMES: Final = {"address": "key", "email": "key", "domain": "key", "created": "at", "date": "at"}
_MOST_PROBLEMS: Final = 100


@dataclass(slots=True)
class Imported:
    """What came of an import: rows read, entries that are new, and what was skipped, the first 100 by row and column."""

    rows: int = 0
    new: int = 0
    skipped: int = 0
    problems: list[RecipientError] = field(default_factory=list)


def export_csv(target: str | os.PathLike[str] | IO[str], list: str | None = None) -> int:  # noqa: A002 - the field's name
    """Write the entries of one list, or of all (None), with a header; returns their number.

    Raises OSError, LedgerUnavailable.
    """
    with _opened(target, "w") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        number = 0
        for number, entry in enumerate(entries(list), 1):  # noqa: B007 - counted
            writer.writerow((entry.key, entry.list, entry.reason, entry.source, _written(entry.at)))
        return number


def import_csv(
    source: str | os.PathLike[str] | IO[str],
    list: str = "",  # noqa: A002 - the field's name
    *,
    reason: str = "manual",
    origin: str = "",
    on_error: Literal["stop", "skip"] = "stop",
) -> Imported:
    """Add the entries of a CSV file; those that are there already stay as they are.

    The first row may be a header; without one the columns are key, list, reason, source, at, of which only the first
    must be there. Columns may be separated by commas, semicolons or tabs.

    Args:
        source: A path, or an open text file.
        list: For rows that name none.
        reason: For rows that give none.
        origin: The source of rows that give none; the file's name unless told.
        on_error: Stop at the first row that is wrong (those before it are in; importing again is harmless), or skip it.

    Raises:
        RecipientError: With row and column, unless they are to be skipped; for a file that is no text in any case.
        InvalidMessage: A list cannot be called so.
        OSError, LedgerUnavailable:
    """
    if on_error not in {"stop", "skip"}:
        raise ValueError(f"on_error is stop or skip, not {on_error!r}")
    done = Imported()
    with _opened(source, "r") as file:
        name = Path(getattr(file, "name", "") or "").name if isinstance(getattr(file, "name", ""), str) else ""
        usual = Suppression("", list_of(list), reason, origin or f"import {name}".strip())
        rows = _Rows(file, name, usual, done, skip=on_error == "skip")
        for _taken, new in add_all(rows):
            done.new = new
    return done


class _Rows:
    """The suppressions in a file, one by one; tallies what it reads in ``done``."""

    def __init__(self, file: IO[str], name: str, usual: Suppression, done: Imported, *, skip: bool) -> None:
        self._file = file
        self._name = name
        self._usual = usual
        self._done = done
        self._skip = skip
        self._reader: Any = None

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
                if not self._skip:
                    raise
                self._done.skipped += 1
                if len(self._done.problems) < _MOST_PROBLEMS:
                    self._done.problems.append(problem)
            else:
                yield suppression

    def _cells(self) -> Iterator[list[str]]:
        try:
            first = next(self._file, "")
            self._reader = csv.reader(
                itertools.chain([first.removeprefix("\ufeff")], self._file), delimiter=_delimiter(first)
            )
            yield from self._reader
        except UnicodeDecodeError as error:
            raise self._problem(f"it is no UTF-8 from its octet {error.start} on; save it as UTF-8", "") from None
        except csv.Error as error:
            raise self._problem(f"it is no CSV: {error}", "") from None

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
        return Suppression(key, name, reason, given.get("source") or self._usual.source, at)

    @contextlib.contextmanager
    def _told(self, column: str) -> Iterator[None]:
        """What is wrong in this block is so in ``column``."""
        try:
            yield
        except InvalidMessage as error:
            raise self._problem(str(error), column) from None

    def _problem(self, sentence: str, column: str) -> RecipientError:
        row = getattr(self._reader, "line_num", 0) or 1
        return RecipientError(sentence, row=row, column=column, file=self._name)


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


@contextlib.contextmanager
def _opened(place: str | os.PathLike[str] | IO[str], mode: Literal["r", "w"]) -> Iterator[IO[str]]:
    """``place``, opened and closed if it is a path."""
    if hasattr(place, "read") or hasattr(place, "write"):
        yield place  # type: ignore[misc]
        return
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    with Path(place).open(mode, encoding=encoding, newline="") as file:
        yield file
