"""The recipients of a campaign, out of whatever holds them, one after another: memory stays flat."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

import msgspec

from mailqueue.bulk.address import bare
from mailqueue.bulk.recipientfile import Format, Row, address_column, address_key, rows
from mailqueue.errors import RecipientError
from mailqueue.extras import plain

__all__ = ["OnError", "Problems", "Recipient", "Source", "file_of", "read"]

#: A path ("-" is standard input), an open file, a mapping of addresses to data, a DB-API cursor, or an iterable of
#: addresses, of pairs (address, data), of mappings that have the address as email, address or to, or of Recipients.
Source: TypeAlias = str | os.PathLike[str] | IO[bytes] | IO[str] | Iterable[Any]
#: Raise the first error, go on without the recipient, or hand the error to somebody and go on.
OnError: TypeAlias = Literal["stop", "skip"] | Callable[[RecipientError], object]

_FLAT: Final = frozenset({str, bool, type(None)})
_INT: Final = 2**63
_STDIN: Final = "standard input"


class Recipient(msgspec.Struct, frozen=True):
    """Whom to write to: the bare ``address``, and the ``data`` that the template is filled with, as JSON has it.

    ``row`` is where it was found: a line of the file, or which of the recipients it is, both from 1.
    """

    address: str
    data: dict[str, Any] = {}
    row: int = 0


class Problems:
    """Gathers what is wrong with recipients, as ``read(on_error=...)``: the first ``limit`` errors, and their number."""

    def __init__(self, limit: int = 100) -> None:
        self.errors: list[RecipientError] = []
        self.total = 0
        self._limit = limit

    def __call__(self, error: RecipientError) -> None:
        """Take note of ``error``."""
        self.total += 1
        if len(self.errors) < self._limit:
            self.errors.append(error)


def read(
    source: Source,
    *,
    on_error: OnError = "stop",
    column: str = "",
    format: Format | None = None,  # noqa: A002 - its name
) -> Iterator[Recipient]:
    """The recipients in ``source``, in its order; an address that is in it twice comes twice.

    Args:
        source: see ``Source``. It is read once, as far as the recipients are asked for.
        on_error: what to do about a recipient that cannot be used; a source that cannot be read is always raised.
        column: the name that the address goes by, where it is none of those that are looked for.
        format: of a file, where its name does not tell it.

    Raises:
        RecipientError: with row and column.
        OSError: the file cannot be opened or read.
    """
    if not (on_error in ("stop", "skip") or callable(on_error)):
        raise TypeError(f'on_error is "stop", "skip", or called with each error; not {on_error!r}')
    if isinstance(source, bytes | bytearray):
        raise TypeError("recipients come from a path, an open file or an iterable, not from bytes")
    return _read(source, on_error, column, format)


def file_of(source: Source) -> str:
    """The name of the file that ``source`` is, as errors tell it; "" if it is none."""
    if source == "-":
        return _STDIN
    if isinstance(source, str | os.PathLike):
        return str(Path(source))
    name = getattr(source, "name", "") if hasattr(source, "readline") else ""
    return name if isinstance(name, str) else ""


def _read(source: Source, on_error: OnError, column: str, form: Format | None) -> Iterator[Recipient]:
    for found in _found(source, column, form):
        if isinstance(found, Recipient):
            yield found
        elif on_error == "stop":
            raise found
        elif on_error != "skip":
            on_error(found)


def _found(source: Source, column: str, form: Format | None) -> Iterator[Recipient | RecipientError]:
    if source == "-":
        return _of_file(getattr(sys.stdin, "buffer", sys.stdin), _STDIN, column, form)
    if isinstance(source, str | os.PathLike):
        return _of_path(Path(source), column, form)
    if hasattr(source, "readline"):
        file: Any = source
        return _of_file(file, file_of(source), column, form)
    if isinstance(source, Mapping):
        return _of_iterable(source.items(), column)
    if getattr(source, "description", None):
        return _of_cursor(source, column)
    return _of_iterable(source, column)


# -- files


def _of_path(path: Path, column: str, form: Format | None) -> Iterator[Recipient | RecipientError]:
    with path.open("rb") as file:
        yield from _of_file(file, str(path), column, form)


def _of_file(
    file: IO[bytes] | IO[str], name: str, column: str, form: Format | None
) -> Iterator[Recipient | RecipientError]:
    for row in rows(file, name=name, form=form, column=column):
        yield row if isinstance(row, RecipientError) else _of_row(row, name)


def _of_row(row: Row, file: str) -> Recipient | RecipientError:
    number, text, column, data = row
    if not text.strip():
        return RecipientError("there is no address", row=number, column=column, file=file)
    try:
        return Recipient(bare(text), _as_json(data), number)
    except RecipientError as error:
        return RecipientError(str(error), row=number, column=column, file=file)
    except TypeError as error:  # JSON may have numbers that few of its readers take
        return RecipientError(str(error), row=number, file=file)


# -- Python


def _of_cursor(cursor: Any, column: str) -> Iterator[Recipient | RecipientError]:
    names = [str(entry[0]) for entry in cursor.description]
    place = address_column(names, column)
    for row, values in enumerate(cursor, 1):
        fields = values.values() if isinstance(values, Mapping) else values  # as dictionary cursors give them
        data = dict(zip(names, fields, strict=True))
        yield _of_values(data.pop(names[place]), data, row, names[place])


def _of_iterable(source: Iterable[Any], column: str) -> Iterator[Recipient | RecipientError]:
    for row, entry in enumerate(source, 1):
        match entry:
            case str():
                yield _of_values(entry, {}, row)
            case Recipient():
                yield _of_values(entry.address, entry.data, entry.row or row)
            case Mapping():
                yield _of_mapping(entry, row, column)
            case (address, Mapping() as data):
                yield _of_values(address, data, row)
            case _:
                yield RecipientError(
                    f"{type(entry).__name__} is no recipient: give an address, a pair (address, data), or a mapping "
                    "with the address as email",
                    row=row,
                )


def _of_mapping(entry: Mapping[str, Any], row: int, column: str) -> Recipient | RecipientError:
    try:
        key = address_key(entry, column)
    except KeyError as error:
        return RecipientError(str(error.args[0]), row=row)
    return _of_values(entry[key], {name: value for name, value in entry.items() if name != key}, row, key)


def _of_values(address: Any, data: Mapping[Any, Any], row: int, column: str = "") -> Recipient | RecipientError:
    if address is None or address == "":
        return RecipientError("there is no address", row=row, column=column)
    try:
        return Recipient(bare(str(address)), _as_json(data), row)
    except RecipientError as error:
        return RecipientError(str(error), row=row, column=column)
    except TypeError as error:
        return RecipientError(str(error), row=row)


def _as_json(data: Mapping[Any, Any]) -> dict[str, Any]:
    """``data`` as the workers will see it, after its way through JSON: a date is the text of one."""
    for name, value in data.items():
        kind = type(value)
        if not (type(name) is str and (kind in _FLAT or (kind is int and -_INT < value < _INT))):
            break
    else:
        return data if type(data) is dict else dict(data)
    whole = msgspec.to_builtins(dict(data), enc_hook=_lazy)
    found: dict[str, Any] = plain(whole, "the data")
    return found


def _lazy(value: Any) -> Any:
    return plain(value, "the data")
