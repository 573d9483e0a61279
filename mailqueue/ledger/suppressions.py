"""The port of the suppression list: addresses and domains that bulk mail does not go to.

An entry belongs to one list, or to all bulk mail (list ``""``). It never concerns the urgent lane: whoever looks it up
sees to that. Keys are normalised by ``key_of``. Every operation is safe to repeat and may raise LedgerUnavailable.
"""

from __future__ import annotations

import abc
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailqueue.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["LIST_NAME", "REASON_OCTETS", "Suppression", "Suppressions", "covering", "key_of", "list_of", "word"]

#: What a list may be called; it stands in keys of the store, in tokens and, with a domain, in List-Id (RFC 2919).
LIST_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
#: Octets of a reason, and of a source, that are kept. They are for people, and a million entries carry them.
REASON_OCTETS: Final = 64

_BLANKS: Final = re.compile(r"\s+")


def key_of(entry: str) -> str:
    """An address as it is compared: lower case, its domain in ASCII (IDNA).

    A domain is written ``@example.com``, and all domains below it ``@.example.com``.
    """
    key = entry.strip().lower()
    if not key.isprintable():
        key = _BLANKS.sub(" ", key)  # no address; but many keys are told apart by their line ends
    if key.isascii():
        return key
    local_part, at, domain = key.rpartition("@")
    dot = "." if domain.startswith(".") else ""
    try:
        return f"{local_part}{at}{dot}{domain.removeprefix(dot).encode('idna').decode('ascii')}"
    except UnicodeError:
        return key  # no relay takes it either


def covering(address: str) -> list[str]:
    """The keys that suppress ``address``: its own, its domain's, and those of the domains that it is below."""
    key = key_of(address)
    _, at, domain = key.rpartition("@")
    return [key, *_above(domain)] if at else [key]


@functools.lru_cache(maxsize=1024)
def _above(domain: str) -> tuple[str, ...]:
    """The keys that suppress all of ``domain``."""
    labels = domain.split(".")
    return (f"@{domain}", *(f"@.{'.'.join(labels[place:])}" for place in range(1, len(labels))))


def list_of(name: str) -> str:
    """``name`` if it can be that of a list; "" stands for all bulk mail. Raises InvalidMessage."""
    if name and not LIST_NAME.fullmatch(name):
        raise InvalidMessage(
            f"{name[:80]!r} is no name of a list: use up to 64 lower-case letters, digits and . _ -, "
            "with a letter or digit at both ends"
        )
    return name


def word(text: str) -> str:
    """A reason or a source as it is kept: on one line, and short."""
    line = _BLANKS.sub(" ", text).strip()
    return line if len(line) <= REASON_OCTETS // 4 else line.encode()[:REASON_OCTETS].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Suppression:
    """``key`` is an address or ``@domain``; ``reason`` one of unsubscribed, complaint, refused, manual, or the user's own."""

    key: str
    list: str = ""  # "" is all bulk mail
    reason: str = "manual"
    source: str = ""  # who or what said so: "one-click", "import suppressed.csv", a campaign...
    at: float = 0.0  # s since the epoch, kept in whole ones; 0.0 in an argument is now, by the store's clock


class Suppressions(abc.ABC):
    """The suppression list of a ledger."""

    @abc.abstractmethod
    def add(self, entries: Sequence[Suppression]) -> int:
        """Add entries; those that are there already stay as they are. Returns how many are new.

        Raises InvalidMessage for a list that cannot be called so; nothing is added then.
        """

    @abc.abstractmethod
    def remove(self, keys: Sequence[str], *, list: str = "") -> int:  # noqa: A002 - the field's name
        """Take entries off a list; returns how many there were."""

    @abc.abstractmethod
    def find(self, addresses: Sequence[str], *, list: str = "") -> Mapping[str, Suppression]:  # noqa: A002
        """Which of ``addresses`` are suppressed, by themselves or their domain, on ``list`` or for all bulk mail.

        By each as it was given, the entry that says so: one of the list before one of all bulk mail, and the address
        before its domain.
        """

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

    @abc.abstractmethod
    def refused(self, addresses: Sequence[str], campaign: str, *, within: float) -> Mapping[str, int]:
        """``campaign`` met the refusal of these; in how many campaigns each of them has been refused by now.

        Told twice, a refusal counts once. ``within`` s after its last refusal an address starts anew.
        """


def first_of(keys: Iterable[str], found: Mapping[str, Suppression]) -> Suppression | None:
    """The entry of the first of ``keys`` that has one."""
    return next((found[key] for key in keys if key in found), None)
