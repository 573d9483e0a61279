"""The suppression list as programs and people use it: entries one by one, and whole lists as CSV.

Who is on it gets no bulk mail: of one list, or of any. The urgent lane never asks. Storage is the ledger's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mailqueue.bulk.address import normalise
from mailqueue.errors import RecipientError
from mailqueue.ledger.suppressions import Suppression, key_of, list_of
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mailqueue.ledger.base import Ledger

__all__ = ["add_all", "entries", "entry_of", "is_suppressed", "suppress", "suppressed", "unsuppress"]

_DOMAIN: Final = re.compile(r"@\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_TOGETHER: Final = 500  # entries of a call: some 5 ms of the store


def entry_of(text: str) -> str:
    """The key that ``text`` stands for: an address, ``@example.com``, or ``@.example.com`` for all that is below that.

    Raises RecipientError.
    """
    text = text.strip()
    if not text.startswith("@"):
        if "@" not in text and "." in text:
            raise RecipientError(f"{text[:80]!r} is no address; a domain is written @{text[:80].lstrip('.')}")
        return normalise(text)
    key = key_of(text)
    if not _DOMAIN.fullmatch(key):
        raise RecipientError(
            f"{text[:80]!r} is no domain; write it as @example.com, or @.example.com for those below it"
        )
    return key


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
    return suppressed(get_producer().ledger, [normalise(address)], list_of(list)).get(normalise(address))


def suppressed(ledger: Ledger, addresses: Sequence[str], list: str = "") -> Mapping[str, Suppression]:  # noqa: A002
    """Which of ``addresses`` get nothing of ``list``, and by which entry; one call, whatever their number."""
    return ledger.suppressions.find(addresses, list=list)


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


def add_all(suppressions: Iterable[Suppression]) -> Iterator[tuple[int, int]]:
    """Add entries, their keys normalised already; yields now and then how many were taken, and how many were new."""
    store = get_producer().ledger.suppressions
    waiting: list[Suppression] = []
    taken = new = 0
    for suppression in suppressions:
        waiting.append(replace(suppression, list=list_of(suppression.list)))
        if len(waiting) == _TOGETHER:
            new += store.add(waiting)
            taken += len(waiting)
            waiting = []
            yield taken, new
    new += store.add(waiting)
    yield taken + len(waiting), new
