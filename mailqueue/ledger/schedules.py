"""The port of the schedules: what is to be started again and again, and when it is due next.

A schedule that is due is taken by one owner under a lease, and moved on when that is done: if the owner dies first,
another takes it. Every operation is atomic and safe to repeat, goes by the store's clock, and may raise
LedgerUnavailable.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ScheduleEntry", "Schedules"]


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """A schedule. Times are s since the epoch, kept in whole ones."""

    name: str
    spec: bytes
    due_at: float  # when it is to be started next
    now: float = 0.0  # the store's time of this answer
    owner: str = ""  # who is starting it just now


class Schedules(abc.ABC):
    """The schedules of a ledger."""

    @abc.abstractmethod
    def put(self, name: str, spec: bytes, due_at: float) -> bool:
        """Make a schedule, or another one of it; with the same spec it stays as it is. Returns whether it is new or other."""

    @abc.abstractmethod
    def drop(self, name: str) -> bool:
        """Forget a schedule; False if there is none."""

    @abc.abstractmethod
    def all(self) -> list[ScheduleEntry]:
        """All schedules, the one that is due first at the head."""

    @abc.abstractmethod
    def take(self, owner: str, *, without: Collection[str] = ()) -> ScheduleEntry | None:
        """The schedule that ``owner`` is to start, under a lease; None if none is due that nobody else is starting.

        Asked again, it is the same one, and the lease is renewed. ``without`` are names of those that it does not want.
        """

    @abc.abstractmethod
    def move(self, name: str, due_at: float, next_at: float) -> bool:
        """It was started for ``due_at``, and is due next at ``next_at``. False if it was not due then any more."""
