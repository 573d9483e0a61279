"""A store that loses its last second: its append-only file is cut back before it is started again.

Tells which messages the cut concerns: those whose accept, begin or record lay in it. Only these may be lost, or
repeated uncounted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Rollback", "commands", "concerned"]

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
        content = self._file().read_bytes()
        # What the store would make of a cut inside a transaction: it goes back to the beginning of that.
        whole = max((end for end, _command in commands(content[:wanted])), default=0)
        with self._file().open("r+b") as file:
            file.truncate(whole)
        self._sizes.clear()
        self._sizes.append((0.0, whole))  # the next cut within a second goes no further back
        self.octets += len(content) - whole
        for message_id, steps in concerned(content[whole:]).items():
            self.concerned.setdefault(message_id, set()).update(steps)

    def _file(self) -> Path:
        return next(self._directory.glob("appendonlydir/*.incr.aof"))

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE):
            self._sizes.append((time.monotonic(), self._file().stat().st_size))


def commands(content: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The commands of an append-only file, each with the place behind it; a transaction is one, of all its words."""
    place, words, inside = 0, [], False
    while place < len(content):
        parsed = _command(content, place)
        if parsed is None:
            return
        place, command = parsed
        name = command[0].upper()
        inside = name == b"MULTI" or (inside and name != b"EXEC")
        words += command
        if not inside:
            yield place, words
            words = []


def _command(content: bytes, place: int) -> tuple[int, list[bytes]] | None:
    """One command in RESP: the place behind it, and its words; None if it is not all there."""

    def line(at: int) -> tuple[int, int] | None:
        end = content.find(b"\r\n", at)
        return None if end < 0 else (int(content[at + 1 : end]), end + 2)

    words: list[bytes] = []
    count = line(place)
    if count is None:
        return None
    number, place = count
    for _ in range(number):
        size = line(place)
        if size is None or size[1] + size[0] + 2 > len(content):
            return None
        words.append(content[size[1] : size[1] + size[0]])
        place = size[1] + size[0] + 2
    return place, words


def concerned(content: bytes) -> dict[str, set[str]]:
    """The messages whose accept, begin, record or cancel is in ``content``, with which of these."""
    found: dict[str, set[str]] = {}
    place = 0
    while place < len(content):
        parsed = _command(content, place)
        if parsed is None:
            break
        place, words = parsed
        if words[0].upper() != b"HSET" or b":m:" not in words[1]:
            continue
        fields = dict(zip(words[2::2], words[3::2], strict=True))
        steps = set()
        if b"l" in fields:
            steps.add("accept")
        if fields.get(b"p") == b"begun":
            steps.add("begin")
        if fields.get(b"p") in (b"answered", b"unknown") or b"x" in fields:
            steps.add("record")
        if fields.get(b"s") == b"cancelled":
            steps.add("cancel")
        if steps:
            found.setdefault(words[1].partition(b":m:")[2].decode(), set()).update(steps)
    return found
