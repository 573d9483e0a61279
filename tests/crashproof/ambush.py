"""The ambush: a process is frozen right before it begins a message, and woken when another has taken that over.

Freezing at random hardly ever comes to this: what a frozen process held is in the lane again, or sent, when it wakes,
and then the message's state is enough to refuse it. Only its fence can, while the same message is being sent by
another. So the relay, which sees them both, keeps back its answers: the RCPT of the first, until that is frozen, and
then the RCPT or the final dot of the other, until the first is awake and has been refused - or has sent a copy.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from tests.crashproof.pace import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.crashproof.rig import Rig

__all__ = ["STAGES", "Ambush"]

#: Where the other one is when the frozen one wakes: its message claimed, or begun.
STAGES = ("rcpt", "final")

_CATCH = 4.0  # s to wait for somebody's RCPT: all may have been killed
_OVERTAKE = 5 * LEASE  # s until the lease has ended and another has come so far, on a machine that is busy
_MAY_COME = (b"sending", b"deferred", b"queued")  # states from which another can come so far


class Ambush:
    """Lies in wait once.

    ``ids_of(number)`` says under which ids a message may be in the ledger. ``until(look, seconds)`` waits for ``look()``
    to be true, and does what is due meanwhile.
    """

    def __init__(
        self,
        rig: Rig,
        ids_of: Callable[[int], Sequence[str]],
        until: Callable[[Callable[[], Any], float], Any],
    ) -> None:
        self._rig = rig
        self._ids_of = ids_of
        self._until = until
        # s in which the woken one shows what it does: the other one's timeout must not end first.
        self._grace = min(0.4 * rig.timeout, 1.0)

    def lay(self, stage: str) -> str | None:
        """Wake a process while another is at ``stage`` of the same message; what happened, None if it came to nothing."""
        relay = self._rig.relay
        try:
            relay.ask("trap", how="rcpt")
            caught = self._until(lambda: self._caught("rcpt"), _CATCH)
            key, owner = self._owner(caught[0]) if caught else ("", None)
            if owner is None:
                return None
            with _frozen(owner):
                relay.ask("open")  # the answer lies there when it wakes
                if stage == "rcpt":
                    relay.ask("trap", how="rcpt", number=caught[0])
                relay.ask("trap", how="final", number=caught[0])
                self._until(lambda: self._caught(stage) or self._is_over(key), _OVERTAKE)
                if not self._caught(stage):
                    return None
                fenced = self._fenced()
            return f"message {caught[0]}, at the other's {stage}: {self._watch(stage, fenced)}"
        except (ProcessLookupError, RedisError, OSError):
            return None  # killed by somebody; or the store is away
        finally:
            relay.ask("open")

    def _watch(self, stage: str, fenced: int) -> str:
        """What the woken one does, or both of them."""
        before = len(self._caught("final"))
        self._until(lambda: len(self._caught("final")) > before or self._fenced() > fenced, self._grace)
        if len(self._caught("final")) == before:
            return "refused" if self._fenced() > fenced else "nothing"
        if stage == "rcpt":
            self._rig.relay.ask("open", how="rcpt")
            self._until(lambda: len(self._caught("final")) > 1, self._grace)
        return f"{len(self._caught('final'))} copies"

    def _caught(self, stage: str) -> list[int]:
        numbers: list[int] = self._rig.relay.ask("caught", how=stage)
        return numbers

    def _owner(self, number: int) -> tuple[str, int | None]:
        """The message's key, and a handle on the process that has claimed it, if it is one of ours."""
        for message_id in self._until(lambda: self._ids_of(number), self._grace) or ():
            key = f"{{mailqueue}}:m:{message_id}"
            owner: Any = self._rig.direct.hget(key, "o")
            pid = int((owner or b":0").rpartition(b":")[2])
            if pid in self._rig.senders():
                return key, os.pidfd_open(pid)
        return "", None

    def _is_over(self, key: str) -> bool:
        """Whether nobody will send the message: it was cancelled, or has expired."""
        state: Any = self._rig.direct.hget(key, "s")
        return state not in _MAY_COME

    def _fenced(self) -> int:
        """Calls that the fence has refused so far."""
        events: Any = self._rig.direct.hget("{mailqueue}:events", "fenced")
        return int(events or 0)


@contextlib.contextmanager
def _frozen(process: int) -> Iterator[None]:
    """``process``, a pidfd, which is closed at the end: its number may be another's by then."""
    try:
        signal.pidfd_send_signal(process, signal.SIGSTOP)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGCONT)
        os.close(process)
