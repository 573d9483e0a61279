"""Rates and limits as people write them: ``14/s``, ``50000/d``, ``gmail.com 5/s, 2 connections``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Limits", "Rate"]


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so many seconds."""

    messages: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a relay, and each domain behind it, may be sent; empty: as much as it takes."""

    rates: tuple[Rate, ...] = ()
    domains: Mapping[str, Limits] = field(default_factory=dict)
    connections: int | None = None  # at once, of the fleet
