"""Ids of messages: text that sorts by time, unique without asking anybody, across threads, forks and hosts."""

from __future__ import annotations

import os

__all__ = ["new_id"]


def new_id(now: float) -> str:
    """Return a new id: the time in ms and 80 random bits from the system, as 32 hex digits (the layout of UUID 7)."""
    return f"{int(now * 1000):012x}{os.urandom(10).hex()}"
