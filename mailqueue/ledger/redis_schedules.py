"""The schedules in Redis or Valkey: a sorted set of names by due moment, and a hash for each.

Leaves the connection, and what goes wrong with it, to ``redis``. Keys and fields: docs/ledger.md.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mailqueue.ledger import rules
from mailqueue.ledger.schedules import ScheduleEntry, Schedules

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["RedisSchedules"]


class _Call(Protocol):
    def __call__(self, name: str, *arguments: Any) -> Any:
        """Run a script of the ledger."""


class RedisSchedules(Schedules):
    """The schedules of a ledger behind ``call``, which runs a script of it."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    def put(self, name: str, spec: bytes, due_at: float) -> bool:
        return bool(self._call("schedules_put", name, spec, int(due_at)) == 1)

    def drop(self, name: str) -> bool:
        return bool(self._call("schedules_drop", name) == 1)

    def all(self) -> list[ScheduleEntry]:
        return [_entry(each) for each in self._call("schedules_all")]

    def take(self, owner: str, *, without: Collection[str] = ()) -> ScheduleEntry | None:
        rules.nameable(owner)
        found = self._call("schedules_take", owner, *without)
        return _entry(found) if found else None

    def move(self, name: str, due_at: float, next_at: float) -> bool:
        return bool(self._call("schedules_move", name, int(due_at), int(next_at)) == 1)


def _entry(found: Sequence[Any]) -> ScheduleEntry:
    name, spec, due, now, owner = found
    return ScheduleEntry(name.decode(), spec, float(due), int(now) / 1000, owner.decode())
