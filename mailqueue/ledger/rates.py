"""The port of the rate limits: one account for the whole fleet of what each relay, and each domain behind it, is sent.

A worker takes permits before it sends and gives back those that it has not used. Limits come from the settings with
each call; an operator's override, kept in the store, wins. Every method may raise LedgerUnavailable.

What a rate lets through, over whatever stretch of time:

- ``14/s``: one message, and those of the time and 0.1 s more (BURST). An urgent one may be served up to a second ahead
  (AHEAD), and the others pay that back. In the long run it is the rate exactly.
- ``600/min``, ``5000/h``, ``50000/d``: never more than that within a minute, an hour, a day, wherever it begins: what was
  sent is counted by sixtieths of it (SLOTS), and the sixtieth that has passed in part counts in full. Of demand that
  never ends 60/61 get through, and at once what has become free.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.rate import Limits

__all__ = [
    "AHEAD",
    "BURST",
    "HOLD",
    "IDLE",
    "KNOWN",
    "LEAST_SEEN",
    "LOWEST",
    "OBSERVED",
    "QUIET",
    "RECOVERY",
    "RECOVERY_STEP",
    "SLOTS",
    "WAIT_HELD",
    "DomainState",
    "Permits",
    "Rates",
    "RelayRates",
]

#: s of a rate that may come at once, besides one message: what is lost by asking late is made up for.
BURST: Final = 0.1
#: s of a rate (or one message) that urgent mail may be served ahead.
AHEAD: Final = 1.0
#: Parts into which the time of a quota is divided.
SLOTS: Final = 60
#: s that an owner occupies a connection without a sign of life, and until it is worth asking for one that is occupied.
#: The first is what a batch of 100 takes a slow relay, for who sends it asks again when it is through; who dies keeps
#: the connection from others for as long.
HOLD: Final = 120.0
WAIT_HELD: Final = 0.25
#: s between two halvings of a domain's rate, and messages a second below which none goes: one a minute.
QUIET: Final = 10.0
LOWEST: Final = 1 / 60
#: Messages a second that count as seen where less was sent: who sends little has not been asked to send less.
LEAST_SEEN: Final = 1.0
#: By how much a slowed rate grows, and after how many s without complaint.
RECOVERY: Final = 1.25
RECOVERY_STEP: Final = 60.0
#: s that one count of what is sent to a domain without limits is taken over.
OBSERVED: Final = 10.0
#: s after which an account without quotas is forgotten, and a relay that is not used any more.
IDLE: Final = 600.0
KNOWN: Final = 2 * 86400.0


@dataclass(frozen=True, slots=True)
class Permits:
    """Answer to ``take``, by domain: how many messages may be sent now, and what there is to know of the others.

    ``waits``: for those that may not go now, s until it is worth asking again. ``rates``: at how many messages a second
    they go in the long run, with what the relay lets through ("" is that); a domain without limits is not there. ``narrow``: the
    domains of which the number of connections is limited ("" for the relay), so that the owner has one.
    """

    granted: Mapping[str, int]
    waits: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    narrow: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DomainState:
    """One domain behind a relay, as the fleet sees it just now. Rates are messages a second; None: no limit."""

    rate: float | None
    slowed: bool = False  # by the relay's own replies, until it has recovered step by step
    reason: str = ""  # codes alone
    connections: int | None = None
    overridden: bool = False  # its limits are those set by hand


@dataclass(frozen=True, slots=True)
class RelayRates:
    """What holds for one relay: the limits in force, whose they are, what was used, and its domains that are slowed.

    ``domains`` are those that are slowed, and those that have an override.
    """

    relay: str
    limits: str  # the relay's own, as they are written: "14/s, 50000/d"; as last used, unless overridden
    overridden: bool  # they are those set by hand
    used: Mapping[str, int] = field(default_factory=dict)  # by window ("d": in the last day)
    domains: Mapping[str, DomainState] = field(default_factory=dict)


class Rates(abc.ABC):
    """The rate limits of a ledger."""

    @abc.abstractmethod
    def take(
        self, relay: str, wanted: Mapping[str, int], *, limits: Limits, owner: str, urgent: bool = False
    ) -> Permits:
        """Permits for messages to be sent now through ``relay``, as many as its limits and each domain's leave.

        ``wanted`` counts them by domain; where the relay has not enough for all, the domains take turns.
        Urgent mail is served ahead: it may use up to a second of the rates that others then wait for, and the
        share of a quota that is kept for it. ``owner`` occupies one of a domain's connections until ``leave``, or for
        120 s.
        """

    @abc.abstractmethod
    def give_back(self, relay: str, unused: Mapping[str, int]) -> None:
        """Permits that were not used, by domain."""

    @abc.abstractmethod
    def leave(self, relay: str, owner: str) -> None:
        """``owner`` has ended what it was sending."""

    @abc.abstractmethod
    def slow_down(self, relay: str, domain: str, *, limits: Limits | None = None, reason: str = "") -> float:
        """The relay or the domain's server asks for less (421, 450, 451, 452, 454): halve the domain's rate.

        From what its limit lets through, or what was seen to be sent to it (``limited``; 1/s at least), if that is
        less. At most once in 10 s for the fleet, and not below one a minute. Returns the new rate in messages a second. It recovers by a
        quarter a minute without further complaint, until it is what it was.
        """

    @abc.abstractmethod
    def limited(self, relay: str, limits: Limits, *, sent: Mapping[str, int] | None = None) -> Mapping[str, float]:
        """The domains that have a pace of their own just now, by the settings or slowed, and their rate (messages/s).

        "" is the relay as a whole, "*" every domain that is not named; infinite where connections alone are limited.
        ``sent`` counts by domain what the caller has sent since it last asked, so that the fleet knows the rates.
        """

    @abc.abstractmethod
    def override(self, relay: str, limits: str | None) -> None:
        """From now on these limits hold for ``relay``, for the whole fleet; None: those of the settings again.

        Limits in the text replace those of the settings for the same holder: the relay itself (all of its own), or a
        domain. For who is not named there the settings hold. Raises ValueError for what is no limit.
        """

    @abc.abstractmethod
    def states(self) -> Mapping[str, RelayRates]:
        """The relays that have limits overridden, used or slowed."""
