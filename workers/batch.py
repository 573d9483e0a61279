"""A batch: the messages that one child has claimed under one fence, and how far each has come.

Shared between the thread that delivers and the keeper of the leases; every method is safe across both.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mailqueue.outcome import Result, Verdict
from mailqueue.rate import domain_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from mailqueue.ledger.base import Grant

__all__ = ["Attempt", "Batch", "domain_of", "outstanding"]


def outstanding(recipients: Sequence[str], results: Mapping[str, Result], answered: Collection[str] = ()) -> list[str]:
    """Those of ``recipients`` that have no final answer yet, and none at all from this attempt (``answered``)."""
    return [
        recipient
        for recipient in recipients
        if recipient not in answered
        and ((result := results.get(recipient)) is None or result.verdict is Verdict.DEFERRED)
    ]


def domain_of(recipient: str) -> str:
    """The domain of an address, as limits name it; an address without one is here."""
    return domain_name(recipient.rpartition("@")[2] if "@" in recipient else "") or "localhost"


@dataclass(slots=True, eq=False)
class Attempt:
    """One try at one claimed message. ``message`` is what the backend sends; its recipients() are the outstanding."""

    grant: Grant
    relay: str
    message: Any
    recipients: Sequence[str]
    results: dict[str, Result] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)  # by this attempt; who was deferred is not asked again in it
    stage: str = ""  # the command whose reply ended it last, if the backend tells
    broken: int = 0  # connections that broke within its content
    lost_at: int | None = None  # messages that the relay had answered for, when a connection was last lost over it

    def settle(self, results: Mapping[str, Result]) -> None:
        """These recipients have their answers."""
        self.results.update(results)
        self.answered.update(results)

    @property
    def id(self) -> str:
        """The message's id."""
        return self.grant.id

    @property
    def domain(self) -> str:
        """The domain that the limits count it for: that of the first recipient who is still to be served."""
        return domain_of(next(iter(self.message.recipients()), ""))

    def __post_init__(self) -> None:
        # Whatever asks this message for its recipients gets those still to be served, also after some progress. A
        # partial of the two, and no method of ours: message and attempt in a cycle would outlive their batch.
        self.message.recipients = functools.partial(outstanding, self.recipients, self.results, self.answered)


class Batch:
    """Attempts under one token. ``begun`` are those whose last byte may be out; the others can be given back."""

    def __init__(self, lane: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.lane = lane
        self.token = secrets.token_hex(8)
        self._clock = clock
        self._lock = threading.Lock()
        self._claimed: dict[str, float] = {}  # id -> when, on this process's clock
        self._turns: dict[str, float] = {}  # of those claimed: in the relay's hands, and since when
        self._begun: dict[str, float] = {}
        self._given_back: set[str] = set()

    def claimed(self, ids: Iterable[str]) -> None:
        """These were granted to us now."""
        now = self._clock()
        with self._lock:
            self._claimed.update(dict.fromkeys(ids, now))

    def turn(self, message_id: str) -> bool:
        """It is this one's turn: it is in the relay's hands, and waits for nobody else. False if it is not ours now."""
        with self._lock:
            if message_id not in self._claimed:
                return False
            self._turns[message_id] = self._clock()
            return True

    def waits(self, ids: Iterable[str]) -> None:
        """These had their turn, and wait for another one."""
        with self._lock:
            for message_id in ids:
                self._turns.pop(message_id, None)

    def begun(self, ids: Iterable[str]) -> None:
        """The last bytes of these are going out now."""
        now = self._clock()
        with self._lock:
            for message_id in ids:
                self._claimed.pop(message_id, None)
                self._turns.pop(message_id, None)
                self._begun[message_id] = now

    def unbegun(self, ids: Iterable[str]) -> None:
        """The last bytes of these were not written, or not for all recipients: they are still at their turn, from now on."""
        with self._lock:
            for message_id in ids:
                if self._begun.pop(message_id, None) is not None:
                    self._claimed[message_id] = self._turns[message_id] = self._clock()

    def ended(self, ids: Iterable[str]) -> None:
        """These are recorded, or not ours any more."""
        with self._lock:
            for message_id in ids:
                self._begun.pop(message_id, None)
                self._claimed.pop(message_id, None)
                self._turns.pop(message_id, None)

    def given_back(self, ids: Iterable[str]) -> None:
        """These were released unless they had begun, in which case the ledger has kept them ours."""
        with self._lock:
            for message_id in ids:
                self._given_back.add(message_id)
                self._claimed.pop(message_id, None)
                self._turns.pop(message_id, None)

    def gave_back(self, message_id: str) -> bool:
        """Whether the message was given back: claimed again under this token, it could not be told from what it was."""
        with self._lock:
            return message_id in self._given_back

    def holds(self, message_id: str) -> bool:
        """Whether the message is still ours, as far as this process knows."""
        with self._lock:
            return message_id in self._claimed or message_id in self._begun

    def waiting(self, longer_than: float = 0.0, turn: float = 0.0) -> list[str]:
        """Ids claimed at least ``longer_than`` s ago and not begun; those at their turn, ``turn`` s ago."""
        now = self._clock()
        with self._lock:
            return [
                message_id
                for message_id, since in self._claimed.items()
                if since <= now - longer_than and not self._is_at_turn(message_id, now - turn)
            ]

    def in_flight(self) -> list[str]:
        """Ids begun and not ended."""
        with self._lock:
            return list(self._begun)

    def busy(self, no_longer_than: float, turn: float | None = None) -> list[str]:
        """Ids begun at most ``no_longer_than`` s ago and not ended, and those whose turn it has been no longer.

        ``turn`` is another limit for these.
        """
        now = self._clock()
        after = now - (no_longer_than if turn is None else turn)
        with self._lock:
            begun = [message_id for message_id, since in self._begun.items() if since >= now - no_longer_than]
            return begun + [message_id for message_id in self._turns if self._is_at_turn(message_id, after)]

    def _is_at_turn(self, message_id: str, after: float) -> bool:
        since = self._turns.get(message_id)
        return since is not None and since > after
