"""The suppression list in Redis or Valkey: a hash for each list, and a set of the lists' names.

Leaves the connection, and what goes wrong with it, to ``redis``. Keys and fields: docs/ledger.md.
"""
# ruff: noqa: A002, D102 - the port's names and docstrings

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, Final, Protocol

from mailqueue.ledger.suppressions import Suppression, Suppressions, covering, first_of, key_of, list_of, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["RedisSuppressions"]

#: The reasons of nearly all entries, as they are kept: a million of them carry one each.
_SHORT: Final = {"unsubscribed": "u", "complaint": "c", "refused": "r", "manual": "m"}
_LONG: Final = {short: reason for reason, short in _SHORT.items()}
_OWN: Final = "="  # begins a reason that is not one of these


class _Call(Protocol):
    def __call__(self, name: str, *arguments: Any) -> Any:
        """Run a script of the ledger."""


class RedisSuppressions(Suppressions):
    """The suppression list of a ledger behind ``call`` (a script of it) and ``execute`` (a command)."""

    def __init__(self, call: _Call, execute: Callable[..., Any], prefix: str) -> None:
        self._call = call
        self._execute = execute
        self._prefix = prefix

    def add(self, entries: Sequence[Suppression]) -> int:
        if not entries:
            return 0
        arguments: list[str] = []
        for each in entries:
            at = str(int(each.at)) if each.at else ""
            arguments += (list_of(each.list), key_of(each.key), at, _facts(each))
        return int(self._call("suppressions_add", *arguments))

    def remove(self, keys: Sequence[str], *, list: str = "") -> int:
        return int(self._call("suppressions_remove", list, *map(key_of, keys))) if keys else 0

    def find(self, addresses: Sequence[str], *, list: str = "") -> Mapping[str, Suppression]:
        keys = {address: covering(address) for address in addresses}
        asked = [*dict.fromkeys(key for each in keys.values() for key in each)]
        if not asked:
            return {}
        # One argument: each of several hundred would cost both sides more than the look at its key.
        answer = self._call("suppressions_find", list, "\n".join(asked))
        if not answer:  # nearly always
            return {}
        own, general = answer
        entries = (_entries(list, own), _entries("", general))
        found = {address: first_of(each, entries[0]) or first_of(each, entries[1]) for address, each in keys.items()}
        return {address: entry for address, entry in found.items() if entry is not None}

    def page(
        self, *, list: str | None = None, cursor: str = "", limit: int = 1000
    ) -> tuple[Sequence[Suppression], str]:
        place, _, name = cursor.partition(" ")
        names = [name] if list is None else [list]
        if list is None:
            known = sorted(each.decode() for each in self._execute("SMEMBERS", f"{self._prefix}suppressed"))
            # A list that has come to its end meanwhile has an empty page.
            names = [name, *known[bisect.bisect_right(known, name) :]] if cursor else known or [""]
        key = f"{self._prefix}suppressed:{names[0]}"
        place, flat = self._execute("HSCAN", key, place or 0, "COUNT", max(1, limit))
        pairs = flat.items() if isinstance(flat, dict) else zip(*[iter(flat)] * 2, strict=True)
        page = [*_entries(names[0], (part for pair in pairs for part in pair)).values()]
        if int(place):
            return page, f"{int(place)} {names[0]}"
        return page, f"0 {names[1]}" if len(names) > 1 else ""

    def refused(self, addresses: Sequence[str], campaign: str, *, within: float) -> Mapping[str, int]:
        if not addresses:
            return {}
        keys = [key_of(address) for address in addresses]
        counts = self._call("suppressions_refused", campaign, max(1, int(within * 1000)), *keys)
        return dict(zip(addresses, map(int, counts), strict=True))


def _facts(entry: Suppression) -> str:
    """What is kept of an entry beside its time."""
    reason = word(entry.reason)
    return "\t".join(filter(None, (_SHORT.get(reason, f"{_OWN}{reason}"), word(entry.source))))


def _entries(name: str, flat: Iterable[bytes]) -> dict[str, Suppression]:
    """The entries of the list ``name`` by their keys, from keys and values by turns."""
    entries = {}
    for key, value in zip(*[iter(flat)] * 2, strict=True):
        at, _, facts = value.decode().partition(" ")
        short, _, source = facts.partition("\t")
        reason = _LONG.get(short) or short.removeprefix(_OWN)
        entries[key.decode()] = Suppression(key.decode(), name, reason, source, float(at))
    return entries
