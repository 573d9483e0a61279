"""The schedules in memory: the twin of the scripts ``lua/schedules_*.lua``. Leaves lock and clock to ``memory``."""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailqueue.ledger import rules
from mailqueue.ledger.schedules import ScheduleEntry, Schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

__all__ = ["MemorySchedules"]


@dataclass(slots=True)
class _Schedule:
    name: str
    spec: bytes
    due: int  # s
    owner: str = ""
    until: int = 0  # ms, of its lease

    def entry(self, now: int) -> ScheduleEntry:
        return ScheduleEntry(self.name, self.spec, float(self.due), now / 1000, self.owner)


class MemorySchedules(Schedules):
    """The schedules of a ledger. ``call`` makes an operation undisturbed, and gives its time in ms."""

    def __init__(self, call: Callable[[], AbstractContextManager[int]], lease: int) -> None:
        self._call = call
        self._lease = lease
        self._schedules: dict[str, _Schedule] = {}

    def put(self, name: str, spec: bytes, due_at: float) -> bool:
        with self._call():
            known = self._schedules.get(name)
            if known is not None and known.spec == spec:
                return False
            self._schedules[name] = _Schedule(name, spec, int(due_at))
            return True

    def drop(self, name: str) -> bool:
        with self._call():
            return self._schedules.pop(name, None) is not None

    def all(self) -> list[ScheduleEntry]:
        with self._call() as now:
            return [each.entry(now) for each in self._in_order()]

    def take(self, owner: str, *, without: Collection[str] = ()) -> ScheduleEntry | None:
        rules.nameable(owner)
        with self._call() as now:
            due = [each for each in self._in_order() if each.due * 1000 <= now and each.name not in without]
            ours = [each for each in due if each.owner == owner]
            # A lease that ends later than one from now was given on another clock.
            free = [each for each in due if not now < each.until <= now + self._lease]
            for each in (*ours, *free):
                each.owner, each.until = owner, now + self._lease
                return each.entry(now)
            return None

    def move(self, name: str, due_at: float, next_at: float) -> bool:
        with self._call():
            known = self._schedules.get(name)
            if known is None or known.due != int(due_at):
                return False
            known.due, known.owner, known.until = int(next_at), "", 0
            return True

    def _in_order(self) -> list[_Schedule]:
        return sorted(self._schedules.values(), key=lambda each: (each.due, each.name))
