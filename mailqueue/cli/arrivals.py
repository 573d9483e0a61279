"""How an arriving message is shown: one line, or all of it."""

from __future__ import annotations

import threading
import time
from email.errors import MessageError
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mailqueue.testing.inbox import Arrival

__all__ = ["Printer", "one_line", "visible"]


class Printer:
    """Prints each message as it arrives, with its number. Called by the inbox's thread."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, arrival: Arrival) -> None:
        """Print ``arrival``."""
        with self._lock:
            self._count += 1
            click.echo(f"{self._count:5}  {one_line(arrival)}")
            if self._full:
                text = arrival.content.decode("utf-8", "replace").replace("\r\n", "\n")
                click.echo("".join(map(visible, text)) + "-" * 79)


def one_line(arrival: Arrival) -> str:
    """Time, envelope, subject and size of a message, fit for a terminal."""
    clock = time.strftime("%H:%M:%S", time.localtime(arrival.arrived_at))
    try:
        subject = str(arrival.message["Subject"] or "(no subject)")
    except (MessageError, ValueError, IndexError):  # the parser's way with headers that are none
        subject = "(unreadable subject)"
    recipients = ", ".join(arrival.recipients[:3])
    if len(arrival.recipients) > 3:
        recipients += f" and {len(arrival.recipients) - 3} more"
    line = f"{clock}  {arrival.sender or '<>'} -> {recipients}  {subject}  ({_size(len(arrival.content))})"
    return "".join(map(visible, line.replace("\n", " ")))


def visible(character: str) -> str:
    """The character, or a mark in its place: mail comes from anywhere, and nothing in it may drive the terminal."""
    return character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"


def _size(octets: int) -> str:
    return f"{octets} B" if octets < 10_000 else f"{octets / 1024:.0f} KB"
