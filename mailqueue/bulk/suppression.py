"""The suppression list as programs and people use it: entries one by one, and whole lists as CSV.

Who is on it gets no bulk mail: of one list, or of any. The urgent lane never asks. Storage is the ledger's.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

from mailqueue.bulk.address import normalise
from mailqueue.bulk.suppressionfile import Imported, Rows, entry_of, write_rows
from mailqueue.ledger.suppressions import Suppression, list_of
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Imported",
    "Suppression",
    "entries",
    "export_csv",
    "import_csv",
    "is_suppressed",
    "suppress",
    "suppressed",
    "unsuppress",
]

_TOGETHER: Final = 500  # entries of a call: some 5 ms of the store


def suppress(entry: str, list: str = "", *, reason: str = "manual", source: str = "") -> bool:  # noqa: A002 - the field's name
    """Send no bulk mail to ``entry``, an address or a domain, any more. True if that is new.

    Args:
        entry: An address; ``@example.com`` for everybody at that domain; ``@.example.com`` for all domains below it.
        list: The list that it is to get nothing of; "" for no bulk mail at all.
        reason: Why: unsubscribed, complaint, refused, manual, or a word of your own. 64 octets are kept.
        source: Who or what says so.

    Raises:
        RecipientError: It is neither an address nor a domain.
        InvalidMessage: A list cannot be called so.
        LedgerUnavailable:
    """
    suppression = Suppression(entry_of(entry), list_of(list), reason, source)
    return get_producer().ledger.suppressions.add([suppression]) == 1


def unsuppress(entry: str, list: str = "") -> bool:  # noqa: A002 - the field's name
    """Take an entry off one list, or off that of all bulk mail; False if it was not there. Raises as ``suppress``."""
    return get_producer().ledger.suppressions.remove([entry_of(entry)], list=list_of(list)) == 1


def is_suppressed(address: str, list: str = "") -> Suppression | None:  # noqa: A002 - the field's name
    """Why ``address`` gets nothing of ``list``; None if it does. Raises as ``suppress``."""
    return suppressed([address], list).get(address)


def suppressed(addresses: Iterable[str], list: str = "") -> Mapping[str, Suppression]:  # noqa: A002 - the field's name
    """Which of ``addresses`` get nothing of ``list``, as they were given, and by which entry; one call for all of them.

    Raises as ``suppress``.
    """
    keys = {address: normalise(address) for address in addresses}
    found = get_producer().ledger.suppressions.find([*dict.fromkeys(keys.values())], list=list_of(list))
    return {address: found[key] for address, key in keys.items() if key in found}


def entries(list: str | None = None) -> Iterator[Suppression]:  # noqa: A002 - the field's name
    """The entries of one list, of that of all bulk mail (""), or of all lists (None), in no order.

    One that comes or goes meanwhile may be there or not, and one may come twice. Raises LedgerUnavailable.
    """
    suppressions = get_producer().ledger.suppressions
    cursor = ""
    while True:
        page, cursor = suppressions.page(list=list, cursor=cursor)
        yield from page
        if not cursor:
            return


def export_csv(target: str | os.PathLike[str] | IO[str], list: str | None = None) -> int:  # noqa: A002 - the field's name
    """Write the entries of one list, or of all (None), with a header; returns their number.

    Raises OSError, LedgerUnavailable.
    """
    with _opened(target, "w") as file:
        return write_rows(file, entries(list))


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
        on_error: Stop at the first row that is wrong (some before it are in; importing again is harmless), or skip it.

    Raises:
        RecipientError: With row and column, unless they are to be skipped; for a file that is no text in any case.
        InvalidMessage: A list cannot be called so.
        OSError, LedgerUnavailable:
    """
    if on_error not in {"stop", "skip"}:
        raise ValueError(f"on_error is stop or skip, not {on_error!r}")
    done = Imported()
    with _opened(source, "r") as file:
        name = Path(getattr(file, "name", "")).name.strip("<>") if isinstance(getattr(file, "name", ""), str) else ""
        usual = Suppression("", list_of(list), reason, origin or f"import {name}".strip())
        rows = Rows(file, name, usual, done, skip=on_error == "skip")
        for new in _add_all(rows):
            done.new = new
    return done


def _add_all(suppressions: Iterable[Suppression]) -> Iterator[int]:
    """Add entries; yields, after each call to the store, how many were new so far."""
    store = get_producer().ledger.suppressions
    remaining = iter(suppressions)
    new = 0
    while together := [*itertools.islice(remaining, _TOGETHER)]:
        new += store.add(together)
        yield new


@contextlib.contextmanager
def _opened(place: str | os.PathLike[str] | IO[str], mode: Literal["r", "w"]) -> Iterator[IO[str]]:
    """``place``, opened and closed if it is a path."""
    if hasattr(place, "read") or hasattr(place, "write"):
        yield place  # type: ignore[misc]
        return
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    with Path(place).open(mode, encoding=encoding, newline="") as file:
        yield file
