"""The history of a store: the commands of its append-only file, and what they tell that the ledger keeps no longer.

Of a campaign's message the ledger keeps how it has ended, and its record for two leases more. How often its answer was
lost is written in the file; and what came before what, whatever the clocks of others say.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BulkHistory", "command_at", "commands", "history_file"]

#: Where a campaign or one of its messages is written to; other commands need not be taken apart.
_OF_CAMPAIGNS = re.compile(
    rb"\*\d+\r\n\$4\r\nHSET\r\n\$\d+\r\n\{mailqueue\}:(c(?=:[^\r\n:]+\r)|m(?=:[^\r\n]+~)):([^\r\n]+)\r\n"
)


def history_file(directory: Path) -> Path:
    """The append-only file of a store whose files are in ``directory``: there is one, as it is never rewritten."""
    return next(directory.glob("appendonlydir/*.incr.aof"))


def commands(content: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The commands of an append-only file, each with the place behind it; a transaction is one, of all its words."""
    place, words, inside = 0, [], False
    while place < len(content):
        parsed = command_at(content, place)
        if parsed is None:
            return
        place, command = parsed
        name = command[0].upper()
        inside = name == b"MULTI" or (inside and name != b"EXEC")
        words += command
        if not inside:
            yield place, words
            words = []


def command_at(content: bytes, place: int) -> tuple[int, list[bytes]] | None:
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


@dataclass(slots=True)
class BulkHistory:
    """What a file tells of campaigns' messages, by their ids."""

    unknowns: Counter[str] = field(default_factory=Counter)  # how often an answer was counted unknown
    stopped: set[str] = field(default_factory=set)  # begun while their campaign was paused or cancelled

    @classmethod
    def read(cls, content: bytes) -> BulkHistory:
        """From an append-only file."""
        history = cls()
        states: dict[bytes, bytes] = {}
        for match in _OF_CAMPAIGNS.finditer(content):
            parsed = command_at(content, match.start())
            if parsed is None:
                break
            fields = dict(zip(parsed[1][2::2], parsed[1][3::2], strict=True))
            name, _, digest = match[2].rpartition(b"~")
            if match[1] == b"c":
                states[match[2]] = fields.get(b"state", states.get(match[2], b""))
            elif digest:
                message_id = match[2].decode()
                history.unknowns[message_id] += b"q" in fields
                if fields.get(b"p") == b"begun" and states.get(name) in (b"paused", b"cancelled"):
                    history.stopped.add(message_id)
        return history
