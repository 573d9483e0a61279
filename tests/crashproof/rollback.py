"""A store that loses its last second: its append-only file is cut back before it is started again.

Tells which messages the cut concerns: those whose accept, begin or record lay in it, and what was said of campaigns, of
their recipients and of suppressed addresses. Only these may be lost, or repeated uncounted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from tests.crashproof.history import command_at, commands, history_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Rollback", "concerned"]

_WINDOW = 1.0  # s: what `appendfsync everysec` documents
_SAMPLE = 0.02  # s


class Rollback:
    """Watches the append-only file grow, so that it can be cut to what it was a second ago."""

    def __init__(self, directory: Path) -> None:
        self.concerned: dict[str, set[str]] = {}
        self.octets = 0
        self._directory = directory
        self._sizes: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=int(5 * _WINDOW / _SAMPLE))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rollback", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def cut(self) -> None:
        """The store was killed: take away its last second."""
        before = time.monotonic() - _WINDOW
        wanted = max((size for at, size in list(self._sizes) if at <= before), default=0)
        content = history_file(self._directory).read_bytes()
        # What the store would make of a cut inside a transaction: it goes back to the beginning of that.
        whole = max((end for end, _command in commands(content[:wanted])), default=0)
        with history_file(self._directory).open("r+b") as file:
            file.truncate(whole)
        self._sizes.clear()
        self._sizes.append((0.0, whole))  # the next cut within a second goes no further back
        self.octets += len(content) - whole
        for message_id, steps in concerned(content[whole:]).items():
            self.concerned.setdefault(message_id, set()).update(steps)

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE):
            self._sizes.append((time.monotonic(), history_file(self._directory).stat().st_size))


def concerned(content: bytes) -> dict[str, set[str]]:
    """Whom what is in ``content`` concerns, and which steps of theirs it has.

    Messages by their ids: accept, begin, record, cancel; and add, for a campaign's recipient. Campaigns by their names:
    create, and turn for every other change of state. Addresses: suppress.
    """
    found: dict[str, set[str]] = {}
    place = 0
    while place < len(content):
        parsed = command_at(content, place)
        if parsed is None:
            break
        place, words = parsed
        name, steps = _steps(words)
        if steps:
            found.setdefault(name.decode(), set()).update(steps)
    return found


def _steps(words: list[bytes]) -> tuple[bytes, set[str]]:
    """Whom a command concerns, and with which steps."""
    if words[0].upper() not in (b"HSET", b"HSETNX"):
        return b"", set()
    kind, _, name = words[1].removeprefix(b"{mailqueue}:").partition(b":")
    fields = dict(zip(words[2::2], words[3::2], strict=True))
    match kind:
        case b"m":
            return name, _of_message(fields)
        case b"c" if b":i:" in name:
            campaign, _, bucket = name.partition(b":i:")
            [(rest, value)] = fields.items()
            return campaign + b"~" + bucket + rest, {"add"} if value == b"w" else set()
        case b"c":
            return name, {"create"} if b"spec" in fields else {"turn"} if b"state" in fields else set()
        case b"suppressed":
            return words[2], {"suppress"}
    return b"", set()


def _of_message(fields: Mapping[bytes, bytes]) -> set[str]:
    steps = set()
    if b"l" in fields:
        steps.add("accept")
    if fields.get(b"p") == b"begun":
        steps.add("begin")
    if fields.get(b"p") in (b"answered", b"unknown") or b"x" in fields:
        steps.add("record")
    if fields.get(b"s") == b"cancelled":
        steps.add("cancel")
    return steps
