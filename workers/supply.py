"""What a batch is made of: the task that it began with, what its lane has beside it, and while it is delivered, more.

Leaves claiming to ``claiming``, putting messages together to ``unpacking``, and the queue to the tap.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from workers.claiming import claim
from workers.unpacking import slices, unpack_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailqueue.codec import Parcel
    from workers.batch import Attempt, Batch
    from workers.process import Process
    from workers.tap import Tap
    from workers.unpacking import Opened

__all__ = ["Supply", "tapped"]

logger = logging.getLogger(__name__)


def tapped(process: Process, lane: str, look: Callable[[Tap], Sequence[Parcel]]) -> Sequence[Parcel]:
    """What ``look`` finds in the queue; nothing while the broker is in trouble, for the mail in hand does not need it."""
    try:
        return look(process.tap())
    except Exception as error:  # noqa: BLE001 - any broker's errors; the batch goes on with what it has
        logger.warning("action=drain_failed lane=%s reason=%s", lane, type(error).__name__)
        process.drop_tap()
        return ()


class Supply:
    """The supply of one batch. For one thread.

    Args:
        first: The task that the batch begins with. Nothing joins a suspect.
        left: Gets what is found and needs a batch of its own: suspects, and what this one has given back.
        until: s, monotonic; what comes into the lane later is for another batch.
    """

    def __init__(self, process: Process, batch: Batch, first: Parcel, left: deque[Parcel], until: float) -> None:
        self._process = process
        self._batch = batch
        self._first = self._like = first
        self._left = left
        self._until = until
        self._slices: deque[list[Opened]] = deque()
        self.messages = 0  # that were claimed

    def __bool__(self) -> bool:
        """Whether something is claimed that was not taken."""
        return bool(self._slices)

    def fill(self) -> None:
        """Claim the first task, and what fits into the batch beside it."""
        first = self._first
        opened = self._claim([first])
        if not first.alone and not self._process.stopping:
            room, space = self._process.batch_messages - len(first.items), self._process.batch_bytes - _octets(first)
            if room > 0 and space > 0:
                opened += self._claim(self._look(lambda tap: self._pop(tap, room, space)))
        self._slices.extend(slices(opened, self._process.batch_bytes))

    def take(self) -> list[Attempt]:
        """As much of what is claimed as may be in memory at a time."""
        return unpack_all(self._process, self._batch, self._slices.popleft())

    def more(self) -> list[Attempt]:
        """What else has come into the lane, to go out behind what is on its way.

        Nothing if that has to end first: a task waits elsewhere that is older, or is a suspect; or there are large parts,
        of which a batch has so many octets in memory and no more. What is claimed then is there to be taken later.
        """
        if self._slices or self._left or self._first.alone or time.monotonic() >= self._until:
            return []
        room, space = self._process.batch_messages, self._process.batch_bytes
        opened = self._claim(self._look(lambda tap: [] if tap.hands_out_ahead else self._pop(tap, room, space)))
        self._slices.extend(slices(opened, space))
        return self.take() if opened and not any(each.parts for each in opened) else []

    def _look(self, look: Callable[[Tap], Sequence[Parcel]]) -> list[Parcel]:
        joining = []
        for parcel in tapped(self._process, self._batch.lane, look):
            if parcel.alone or any(self._batch.gave_back(message_id) for message_id, _ in parcel.items):
                self._left.append(parcel)
            else:
                joining.append(parcel)
                self._like = parcel
        return joining

    def _pop(self, tap: Tap, room: int, space: int) -> Sequence[Parcel]:
        # As many as would fit if they were like the last one: a guess that the tap corrects by putting tasks back.
        like = self._like
        room = max(1, min(room, int(space / max(1.0, _octets(like) / max(1, len(like.items))))))
        return tap.take(self._batch.lane, room, float(len(like.items)))

    def _claim(self, parcels: Sequence[Parcel]) -> list[Opened]:
        opened = claim(self._process, self._batch, parcels) if parcels else []
        self.messages += len(opened)
        return opened


def _octets(parcel: Parcel) -> int:
    return sum(len(envelope) for _id, envelope in parcel.items)
