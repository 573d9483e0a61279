"""The port of the suppression list: addresses and domains that bulk mail does not go to.

An entry belongs to one list, or to all bulk mail (list ``""``). It never concerns the urgent lane: whoever looks it up
sees to that. Keys are normalised by ``mailqueue.ledger.suppressions.key_of``. May raise LedgerUnavailable.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Suppression", "Suppressions", "key_of"]


def key_of(entry: str) -> str:
    """An address as it is compared: lower case; a domain is written ``@example.com``."""
    return entry.strip().lower()


@dataclass(frozen=True, slots=True)
class Suppression:
    """``key`` is an address or ``@domain``; ``reason`` one of unsubscribed, complaint, refused, manual, or the user's own."""

    key: str
    list: str = ""  # "" is all bulk mail
    reason: str = "manual"
    source: str = ""  # who or what said so: "one-click", "import suppressed.csv", a campaign...
    at: float = 0.0  # s since the epoch; 0.0 in an argument is now, by the store's clock


class Suppressions(abc.ABC):
    """The suppression list of a ledger."""

    @abc.abstractmethod
    def add(self, entries: Sequence[Suppression]) -> int:
        """Add entries; those that are there already stay as they are. Returns how many are new."""

    @abc.abstractmethod
    def remove(self, keys: Sequence[str], *, list: str = "") -> int:  # noqa: A002 - the field's name
        """Take entries off a list; returns how many there were."""

    @abc.abstractmethod
    def find(self, addresses: Sequence[str], *, list: str = "") -> Mapping[str, Suppression]:  # noqa: A002
        """Which of ``addresses`` are suppressed, by themselves or their domain, on ``list`` or for all bulk mail."""

    @abc.abstractmethod
    def page(
        self,
        *,
        list: str | None = None,  # noqa: A002
        cursor: str = "",
        limit: int = 1000,
    ) -> tuple[Sequence[Suppression], str]:
        """Some entries, of one list or of all (None), and the cursor to go on with; "" when that was the last page.

        ``limit`` is a hint. An entry that stays is told at least once, whatever is added meanwhile.
        """
