"""Waiting for the user to say stop: Ctrl-C, or the SIGTERM or SIGHUP of whoever started us."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["clean_exit", "until_stopped"]


@contextlib.contextmanager
def clean_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end us as Ctrl-C does, through every ``finally``; exit status 128 + the signal."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_stopped(alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until a signal says stop, or until ``alive`` (asked twice a second) says no."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        while not stop.wait(0.5) and alive():
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
