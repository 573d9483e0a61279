"""The form of a task as it lies in the queue of a Redis broker: what kombu would push there, but for what differs.

kombu itself fills one in, once for each connection and lane. From it come the drafts that the ledger pushes, in the
call that accepts their messages, where it shares its store with the broker: half the trips, and nothing in between.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mailqueue.codec import Parcel
from mailqueue.ledger.base import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Form", "task_body"]

_EMBED: Final[dict[str, Any]] = {}  # neither callbacks nor chains nor chords
#: Where the number of a parcel stands in the body of its task.
_NUMBER: Final = b'"number":'
_encode: Final = msgspec.json.Encoder().encode


def task_body(parcel: Parcel) -> bytes:
    """The body of the task that carries ``parcel``, as Celery's message protocol 2 has it: JSON."""
    return _encode([[parcel.to_wire()], {}, _EMBED])


class Form:
    """What surrounds the body of a task of ``lane`` in the queue of that lane, cut where the task's id stands."""

    def __init__(self, lane: str, key: str, before: Sequence[bytes], after: Sequence[bytes]) -> None:
        self._lane = lane
        self._key = key
        self._before = before
        self._after = after

    @classmethod
    def of(cls, lane: str, publish: Callable[[Parcel, str, Any], None]) -> Form | None:
        """The form that ``publish`` fills in: for a parcel, with the id of its task, by way of a client of Redis.

        None if it does more, or anything else, than to push one text that holds the body: then there is no form.
        """
        blank, task_id, recorder = Parcel(lane, 0), str(uuid.uuid4()), _Recorder()
        try:
            publish(blank, task_id, recorder)
            [(key, text)] = recorder.pushed
            tag = json.loads(text)["properties"]["delivery_tag"]  # by which kombu tells messages apart, as by their id
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
        before, body, after = text.replace(tag, task_id).encode().partition(_inside(task_body(blank)))
        place = task_id.encode()
        return cls(lane, key, before.split(place), after.split(place)) if body else None

    def draft(self, items: tuple[tuple[str, bytes], ...]) -> Draft:
        """A task for ``items``, under a new id, complete but for its number."""
        task_id = str(uuid.uuid4()).encode()
        head, _, tail = task_body(Parcel(self._lane, 0, items)).partition(_NUMBER + b"0")
        return Draft(
            self._key,
            task_id.join(self._before) + _inside(head + _NUMBER),
            _inside(tail) + task_id.join(self._after),
        )


def _inside(text: bytes) -> bytes:
    """``text``, which is JSON, as it stands inside a string of JSON: of what has to be escaped it has no more than this."""
    return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


class _Recorder:
    """Stands in for kombu's client of Redis and notes what is to be pushed."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str, str]] = []

    def lpush(self, key: str, text: str) -> None:
        self.pushed.append((key, text))
