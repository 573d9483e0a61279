"""Files of recipients: CSV and JSON lines, row by row, each row told by the line that an editor shows.

What is wrong with one row is given like a row, and reading goes on; what is wrong with the whole file is raised.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from mailqueue.errors import RecipientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Format", "Row", "address_column", "address_key", "csv_reason", "rows"]

Format: TypeAlias = Literal["csv", "tsv", "jsonl"]

#: By the end of a file's name; others are told by their first line.
_FORMATS: Final[Mapping[str, Format]] = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "jsonl": "jsonl", "ndjson": "jsonl"}
_LINE: Final = 1024 * 1024  # characters; no recipient has more, and a file without line ends is not to fill the memory
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EXCEL: Final = re.compile(r"sep=([^\w\s\"]|[\t ])\s*", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"[^"]*"?')
_OCTETS: Final = re.compile("[\udc80-\udcff]")  # what was no UTF-8 comes as these (PEP 383)
_POSITION: Final = re.compile(r" \(byte (\d+)\)")
_KEYS: Final = ("email", "address", "to")


class Row(NamedTuple):
    """A row as it was found: nothing is known of the address but that it is text under the name ``column``."""

    number: int
    address: str
    column: str
    data: dict[str, Any]


def rows(
    file: IO[bytes] | IO[str], *, name: str, form: Format | None = None, column: str = ""
) -> Iterator[Row | RecipientError]:
    """The rows of ``file``, whose ``name`` tells its format unless ``form`` does; ``column`` holds the addresses.

    Raises RecipientError for a file that cannot be read as one of recipients at all.
    """
    lines = _Lines(file, name)
    try:
        form = form or _FORMATS.get(name.rpartition(".")[2].lower()) or ("jsonl" if lines.look_like_json() else "csv")
        if form == "jsonl":
            yield from _json_rows(lines, column)
        else:
            yield from _csv_rows(lines, "\t" if form == "tsv" else "", column)
    finally:
        lines.let_go()


def address_column(columns: Sequence[str], chosen: str = "", *, file: str = "", row: int = 0) -> int:
    """Which of ``columns`` holds the address; raises RecipientError if that cannot be told."""
    names = [name.casefold() for name in columns]
    if chosen:
        if chosen.casefold() in names:
            return names.index(chosen.casefold())
        raise RecipientError(f"no column is called {chosen!r}; there are {_listed(columns)}", row=row, file=file)
    for fitting in (["email"], [name for name in names if "mail" in name], ["address"]):
        if len(fitting) == 1 and names.count(fitting[0]) == 1:
            return names.index(fitting[0])
    if any("@" in name for name in columns):
        raise RecipientError(
            "the first row is to name the columns, as in email,name - and this one has an address in it",
            row=row,
            file=file,
        )
    raise RecipientError(
        f"which column holds the address? Call it email; there are {_listed(columns)}", row=row, file=file
    )


def address_key(data: Mapping[str, Any], chosen: str = "") -> str:
    """Under which name ``data`` has the address; raises KeyError with what there is."""
    for key in (chosen,) if chosen else _KEYS:
        if key in data:
            return key
    raise KeyError(f"it has no {chosen or 'email'!r}; there are {_listed(list(map(str, data)))}")


class _Lines:
    """The lines of a file, with their ends; what is no UTF-8 in them comes as lone surrogates."""

    def __init__(self, file: IO[bytes] | IO[str], name: str) -> None:
        self.name = name
        self._ahead: list[str] = []
        self._wrappers: list[Any] = []
        self._file: Any = file
        if isinstance(file.read(0), bytes):
            if not hasattr(file, "peek"):
                self._wrap(io.BufferedReader(self._file))
            octets: Any = self._file
            if octets.peek(2)[:2] in _WIDE:
                self.let_go()
                raise RecipientError("the file is UTF-16: save it as UTF-8 (Excel: CSV UTF-8)", file=name)
            self._wrap(io.TextIOWrapper(self._file, "utf-8-sig", "surrogateescape", newline=""))

    def _wrap(self, wrapper: Any) -> None:
        self._wrappers.append(wrapper)
        self._file = wrapper

    def let_go(self) -> None:
        """Leave the file to whoever opened it: a wrapper closes it with itself."""
        while self._wrappers:
            self._wrappers.pop().detach()

    def look_like_json(self) -> bool:
        line = next(self, "")
        if line:
            self._ahead.append(line)
        return line.lstrip().startswith(("{", "["))

    def back(self, line: str) -> None:
        self._ahead.append(line)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._ahead:
            return self._ahead.pop()
        line: str = self._file.readline(_LINE)
        if len(line) == _LINE:
            raise RecipientError(
                f"a line has {_LINE} characters and more: this is no file of recipients", file=self.name
            )
        if not line:
            raise StopIteration
        return line


# -- CSV


def _csv_rows(lines: _Lines, delimiter: str, column: str) -> Iterator[Row | RecipientError]:
    before = 0  # lines that are read already
    if not delimiter:
        delimiter, before = _delimiter(lines)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    place = 0
    while True:
        number = before + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield _refused(csv_reason(error), number, before + reader.line_num, lines.name, whole=header is None)
            continue
        if not any(fields):
            continue
        if header is None:
            header = _header(fields, number, lines.name)
            place = address_column(header, column, file=lines.name, row=number)
        elif len(fields) != len(header):
            yield _refused(_other_count(fields, header), number, before + reader.line_num, lines.name)
        else:
            yield _csv_row(fields, header, place, number, lines.name)
    if header is None:
        raise RecipientError(
            "the file is empty: its first row is to name the columns, as in email,name", file=lines.name
        )


def _delimiter(lines: _Lines) -> tuple[str, int]:
    """What separates the fields, by the first line: comma, semicolon or tab. And how many lines that has used up."""
    line = next(lines, "")
    if named := _EXCEL.fullmatch(line):
        return named[1], 1
    lines.back(line)
    bare = _QUOTED.sub("", line)
    return max(",;\t", key=bare.count), 0


def _header(fields: list[str], row: int, file: str) -> list[str]:
    names = [name.strip() for name in fields]
    for place, name in enumerate(names, 1):
        if not name:
            raise RecipientError(f"column {place} of {len(names)} has no name", row=row, file=file)
        if names.index(name) != place - 1:
            raise RecipientError("two columns have this name", row=row, column=name, file=file)
        if why := _unfit(name):
            raise RecipientError(why, row=row, column=str(place), file=file)
    return names


def _refused(why: str, row: int, last: int, file: str, *, whole: bool = False) -> RecipientError:
    """The error of a row whose lines end with ``last``; raised, if nothing can be said of what comes after it.

    A row that is wrong and has several lines is most likely a quote that nobody closed: it has swallowed other rows,
    and reading would go on in the midst of one.
    """
    if last > row:
        why += f"; it goes on to line {last}: is a double quote not closed?"
    error = RecipientError(why, row=row, file=file)
    if whole or last > row:
        raise error
    return error


def _other_count(fields: list[str], header: list[str]) -> str:
    why = f"it has {_count(len(fields))}, and the first row names {len(header)} columns"
    return f"{why}: a value that has a separator in it is to be in double quotes" if len(fields) > len(header) else why


def _csv_row(fields: list[str], header: list[str], place: int, row: int, file: str) -> Row | RecipientError:
    text = "".join(fields)
    if not text.isascii() or "\0" in text:
        for name, field in zip(header, fields, strict=True):
            if why := _unfit(field):
                return RecipientError(why, row=row, column=name, file=file)
    data = dict(zip(header, fields, strict=True))
    column = header[place]
    return Row(row, data.pop(column), column, data)


def _unfit(text: str) -> str:
    if "\0" in text:
        return "it has a NUL character in it"
    if found := _OCTETS.search(text):
        octet = ord(found[0]) - 0xDC00
        return f"it is no UTF-8 (octet 0x{octet:02X}): save the file as UTF-8"
    return ""


def csv_reason(error: csv.Error) -> str:
    """What is wrong with a row that cannot be read."""
    text = str(error)
    if "field larger" in text:
        return f"a field has more than {csv.field_size_limit()} characters"
    if "unexpected end" in text:
        return "a double quote is not closed before the end of the file"
    if "expected after" in text:
        return 'something follows the closing double quote of a field: write "" for a quote inside of one'
    return f"it is no CSV: {text}"


# -- JSON lines


def _json_rows(lines: _Lines, column: str) -> Iterator[Row | RecipientError]:
    for number, line in enumerate(lines, 1):
        if number == 1 and line.lstrip().startswith("["):
            raise RecipientError(
                "the file is one JSON array; write one object a line (jq -c '.[]' makes that)", file=lines.name
            )
        if line.strip():
            yield _json_row(line, number, lines.name, column)


def _json_row(line: str, row: int, file: str, column: str) -> Row | RecipientError:
    if why := _unfit(line):
        return RecipientError(why, row=row, file=file)
    try:
        data = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        why = _POSITION.sub(r" (octet \1 of the line)", str(error))
        return RecipientError(f"it is no JSON: {why}", row=row, file=file)
    if type(data) is not dict:
        return RecipientError("it is no JSON object: write {...} for each recipient", row=row, file=file)
    try:
        key = address_key(data, column)
    except KeyError as error:
        return RecipientError(str(error.args[0]), row=row, file=file)
    address = data.pop(key)
    if type(address) is not str:
        return RecipientError("the address is no text", row=row, column=key, file=file)
    return Row(row, address, key, data)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else f"{name[:37]}...") for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"


def _count(fields: int) -> str:
    return f"{fields} fields" if fields != 1 else "1 field"
