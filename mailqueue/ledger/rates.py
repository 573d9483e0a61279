"""The port of the rate limits: one account for the whole fleet of what each relay, and each domain behind it, is sent.

A worker takes permits before it sends and gives back those that it has not used. Limits come from the settings with
each call; an operator's override, kept in the store, wins. May raise LedgerUnavailable.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.rate import Limits

__all__ = ["DomainState", "Permits", "Rates", "RelayRates"]


@dataclass(frozen=True, slots=True)
class Permits:
    """Answer to ``take``: by domain, how many messages may be sent now, and for those that may not, s until it is worth asking."""

    granted: Mapping[str, int]
    waits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DomainState:
    """One domain behind a relay, as the fleet sees it just now. Rates are messages a second; None: no limit."""

    rate: float | None
    slowed: bool = False  # by the relay's own replies, until it has recovered step by step
    reason: str = ""  # codes alone
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class RelayRates:
    """What holds for one relay: the limits in force, whose they are, what was used, and the domains that are slowed."""

    relay: str
    limits: str  # as they are written: "14/s, 50000/d"
    overridden: bool
    used: Mapping[str, int] = field(default_factory=dict)  # by window ("d": in the last day)
    domains: Mapping[str, DomainState] = field(default_factory=dict)


class Rates(abc.ABC):
    """The rate limits of a ledger."""

    @abc.abstractmethod
    def take(
        self, relay: str, wanted: Mapping[str, int], *, limits: Limits, owner: str, urgent: bool = False
    ) -> Permits:
        """Permits for messages to be sent now through ``relay``, as many as its limits and each domain's leave.

        Urgent mail is served ahead: it may use up to a second of the relay's rate that others then wait for, and the
        share of a quota that is kept for it. ``owner`` occupies one of a domain's connections until ``leave``, or for
        30 s.
        """

    @abc.abstractmethod
    def give_back(self, relay: str, unused: Mapping[str, int]) -> None:
        """Permits that were not used."""

    @abc.abstractmethod
    def leave(self, relay: str, owner: str) -> None:
        """``owner`` has ended what it was sending."""

    @abc.abstractmethod
    def slow_down(self, relay: str, domain: str, *, reason: str = "") -> float:
        """The relay or the domain's server asks for less (421, 450, 451, 452, 454): halve the domain's rate.

        At most once in 10 s for the fleet. Returns the new rate in messages a second. It recovers by a quarter a minute
        without further complaint.
        """

    @abc.abstractmethod
    def limited(self, relay: str, limits: Limits) -> Mapping[str, float]:
        """The domains that have a pace of their own just now, by the settings or slowed, and their rate (messages/s)."""

    @abc.abstractmethod
    def override(self, relay: str, limits: str | None) -> None:
        """From now on these limits hold for ``relay``, for the whole fleet; None: those of the settings again."""

    @abc.abstractmethod
    def states(self) -> Mapping[str, RelayRates]:
        """The relays that have limits overridden, used or slowed."""
