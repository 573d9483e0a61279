"""The suppression list in memory: the twin of ``redis_suppressions``. Leaves the lock and the clock to ``memory``."""
# ruff: noqa: A002, D102 - the port's names and docstrings

from __future__ import annotations

import bisect
from dataclasses import replace
from typing import TYPE_CHECKING

from mailqueue.ledger.suppressions import Suppression, Suppressions, covering, first_of, key_of, list_of, word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

__all__ = ["MemorySuppressions"]


class MemorySuppressions(Suppressions):
    """The suppression list of a ledger in memory; ``call`` is one operation of that, and gives its time in ms."""

    def __init__(self, call: Callable[[], AbstractContextManager[int]]) -> None:
        self._call = call
        self._lists: dict[str, dict[str, Suppression]] = {}
        self._refusals: dict[str, tuple[set[str], int]] = {}  # by key: the campaigns, and until when they count

    def add(self, entries: Sequence[Suppression]) -> int:
        kept = [
            replace(
                each, key=key_of(each.key), list=list_of(each.list), reason=word(each.reason), source=word(each.source)
            )
            for each in entries
        ]
        with self._call() as now:
            new = 0
            for each in kept:
                entries_of_list = self._lists.setdefault(each.list, {})
                if each.key not in entries_of_list:
                    entries_of_list[each.key] = replace(each, at=float(int(each.at or now / 1000)))
                    new += 1
            return new

    def remove(self, keys: Sequence[str], *, list: str = "") -> int:
        with self._call():
            known = self._lists.get(list, {})
            return sum(known.pop(key_of(key), None) is not None for key in keys)

    def find(self, addresses: Sequence[str], *, list: str = "") -> Mapping[str, Suppression]:
        with self._call():
            own, general = self._lists.get(list, {}), self._lists.get("", {})
            found = {}
            for address in addresses:
                keys = covering(address)
                entry = first_of(keys, own) or first_of(keys, general)
                if entry is not None:
                    found[address] = entry
            return found

    def page(
        self, *, list: str | None = None, cursor: str = "", limit: int = 1000
    ) -> tuple[Sequence[Suppression], str]:
        with self._call():
            names = sorted(self._lists) if list is None else [list]
            everything = [(name, key) for name in names for key in sorted(self._lists.get(name, {}))]
            last = (
                (*cursor.split(" ", 1), "")[:2] if cursor else None
            )  # no key has a blank that is not in a name's place
            start = 0 if last is None else bisect.bisect_right(everything, (last[0], last[1]))
            page = everything[start : start + max(1, limit)]
            more = start + len(page) < len(everything)
            return [self._lists[name][key] for name, key in page], " ".join(page[-1]) if more else ""

    def refused(self, addresses: Sequence[str], campaign: str, *, within: float) -> Mapping[str, int]:
        with self._call() as now:
            counts = {}
            for address in addresses:
                campaigns, until = self._refusals.get(key_of(address), (set[str](), 0))
                if until <= now:
                    campaigns = set()
                campaigns.add(campaign)
                self._refusals[key_of(address)] = campaigns, now + int(within * 1000)
                counts[address] = len(campaigns)
            return counts
