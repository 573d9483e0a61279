"""Urgent mail, one every 100 ms, while the newsletter is on its road."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from mailqueue import EmailMessage, enqueue

if TYPE_CHECKING:
    from types import TracebackType

    from mailqueue.testing.tally import Tallied

__all__ = ["UrgentMail"]

_EVERY: Final = 0.1  # s
_DOMAIN: Final = "urgent.example"


class UrgentMail:
    """Sends it from a thread of its own, as a context manager."""

    def __init__(self) -> None:
        self._calls: dict[str, float] = {}  # s, time.monotonic(), by recipient
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="urgent-mail", daemon=True)
        self.trouble: Exception | None = None

    @property
    def sent(self) -> int:
        """How many so far."""
        return len(self._calls)

    def waits(self, arrivals: list[Tallied]) -> list[float]:
        """S from each call to its arrival, the shortest first; those that are not among ``arrivals`` are left out."""
        calls = self._calls
        return sorted(at.at - calls[at.recipients[0]] for at in arrivals if at.recipients[0] in calls)

    def has_sent(self, arrival: Tallied) -> bool:
        """Whether ``arrival`` is one of these."""
        return arrival.recipients[0] in self._calls

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join(10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        at = time.monotonic()
        try:
            while not self._stop.is_set():
                address = f"user{len(self._calls)}@{_DOMAIN}"
                message = EmailMessage("Your code", f"It is {len(self._calls):06d}.\n", "login@shop.example", [address])
                self._calls[address] = time.monotonic()
                enqueue(message, lane="urgent")
                at += _EVERY
                self._stop.wait(max(0.0, at - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - told by whoever looks at it
            self.trouble = error
