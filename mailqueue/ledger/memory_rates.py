"""The rate limits in memory: the twin of ``lua/rates.lua`` and of its users.

Leaves the lock and the clock to ``memory``. Times are milliseconds; a pace's debt is in messages.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.ledger import rates, rules
from mailqueue.ledger.rates import DomainState, Permits, Rates, RelayRates
from mailqueue.rate import ANY_DOMAIN, Limits, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

__all__ = ["MemoryRates"]

_HOLD: Final = rules.milliseconds(rates.HOLD)
_WAIT_HELD: Final = rules.milliseconds(rates.WAIT_HELD)
_QUIET: Final = rules.milliseconds(rates.QUIET)
_STEP: Final = rules.milliseconds(rates.RECOVERY_STEP)
_OBSERVED: Final = rules.milliseconds(rates.OBSERVED)
_IDLE: Final = rules.milliseconds(rates.IDLE)
_KNOWN: Final = rules.milliseconds(rates.KNOWN)
_NEAR: Final = 1e-9  # what floating point may make of a whole number
_NEVER: Final = math.inf
_ENOUGH: Final = 100  # steps, after which the lowest rate has become a billion times as much


@dataclass(slots=True)
class _Window:
    """What was sent within one stretch of time, by its sixtieths; the current one and the 60 before it count."""

    slot: int = 0
    total: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def as_of(self, slot: int) -> _Window:
        """Without what is over then. A clock that was set back leaves all as it is until it has caught up."""
        if slot <= self.slot:
            return self
        counts = Counter({each: number for each, number in self.counts.items() if each >= slot - rates.SLOTS})
        return _Window(slot, counts.total(), counts)

    def add(self, number: int) -> None:
        self.counts[self.slot] += number
        self.total += number

    def take_off(self, number: int) -> None:
        """The last ones are the likeliest to be those that were not used."""
        for slot in sorted(self.counts, reverse=True):
            less = min(number, self.counts[slot])
            self.counts[slot] -= less
            self.total -= less
            number -= less

    def free_at(self, excess: int) -> int:
        """The slot in which ``excess`` messages have become free."""
        for slot in sorted(self.counts):
            excess -= self.counts[slot]
            if excess <= 0:
                return slot + rates.SLOTS + 1
        return self.slot + rates.SLOTS + 1  # a limit that is less than nothing: not reached


@dataclass(slots=True)
class _Account:
    """What a relay, or a domain behind it, was sent lately. The pace and the quotas are forgotten apart."""

    debt: float = 0.0  # messages that the pace has still to make up for
    at: int = 0
    idle: int = 0  # when that is forgotten
    windows: dict[int, _Window] = field(default_factory=dict)  # by their length
    expires: int = 0  # when they are forgotten

    def forget(self, now: int) -> None:
        """What nobody has used for long is as if it had never been."""
        if self.idle <= now:
            self.debt, self.at, self.idle = 0.0, 0, 0
        if self.expires <= now:
            self.windows, self.expires = {}, 0


@dataclass(slots=True)
class _Slowed:
    """A domain that has asked for less."""

    rate: float
    full: float  # what it was slowed from
    at: int
    reason: str

    def now(self, now: int) -> float:
        steps = min(max(0, (now - self.at) // _STEP), _ENOUGH)
        return self.rate * rates.RECOVERY**steps


class _Holder:
    """An account, with the limits that hold for it in one call."""

    def __init__(self, account: _Account, limits: Limits, slowed: float, now: int, *, urgent: bool) -> None:
        self.account = account
        self._now = now
        self._urgent = urgent
        self._share = limits.urgent_share
        self._pace = min([slowed, *(rate.messages for rate in limits.rates if rate.seconds == 1)])
        self._quotas = [(rules.milliseconds(rate.seconds), rate.messages) for rate in limits.rates if rate.seconds > 1]
        self.connections = limits.connections
        self.rate = min([self._pace, *(limit * 1000 / length for length, limit in self._quotas)])
        self._debt = self._debt_now()
        self._windows = {
            length: (account.windows.get(length) or _Window()).as_of(now // (length // rates.SLOTS))
            for length, _limit in self._quotas
        }

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to be counted."""
        return self._pace < _NEVER or bool(self._quotas)

    def _debt_now(self) -> float:
        if self._pace == _NEVER:
            return 0.0
        account = self.account
        account.at = min(account.at, self._now)  # a clock that was set back
        highest = 2 + (rates.BURST + rates.AHEAD) * self._pace  # more is left of a higher rate
        return max(0.0, min(account.debt, highest) - (self._now - account.at) * self._pace / 1000)

    def _cap(self) -> float:
        cap = 1 + rates.BURST * self._pace
        return cap + max(1.0, rates.AHEAD * self._pace) if self._urgent else cap

    def _limit(self, limit: float) -> float:
        return limit if self._urgent or limit == _NEVER else limit - math.floor(limit * self._share)

    def room(self) -> float:
        """How many may go now."""
        found = _NEVER
        if self._pace < _NEVER:
            found = math.floor(self._cap() - self._debt + _NEAR)
        for length, limit in self._quotas:
            found = min(found, self._limit(limit) - self._windows[length].total)
        return max(0, found)

    def charge(self, number: int) -> None:
        """So many go."""
        account = self.account
        if self._pace < _NEVER:
            self._debt += number
            account.debt, account.at = self._debt, self._now
            account.idle = self._now + max(_IDLE, math.ceil(self._debt * 1000 / self._pace))
        for length, window in self._windows.items():
            window.add(number)
            account.windows[length] = window
        if self._windows:
            longest = max(self._windows)
            account.expires = self._now + longest + 2 * (longest // rates.SLOTS)

    def wait(self) -> int:
        """Ms until one more may go."""
        found = 0
        if self._pace < _NEVER:
            missing = self._debt + 1 - self._cap() - _NEAR
            if missing > 0:
                found = math.ceil(missing * 1000 / self._pace)
        for length, limit in self._quotas:
            window = self._windows[length]
            excess = window.total - self._limit(limit) + 1
            if excess > 0:
                found = max(found, window.free_at(int(excess)) * (length // rates.SLOTS) - self._now)
        return found


def _shared(may: Mapping[str, int], left: float) -> dict[str, int]:
    """Where the relay has not enough for all, the domains take turns: who wants less than its part leaves it to the others."""
    granted = dict.fromkeys(may, 0)
    for turn, (domain, number) in enumerate(sorted(may.items(), key=lambda item: item[1])):
        granted[domain] = int(min(number, left // (len(may) - turn) if left < _NEVER else number))
        left -= granted[domain]
    return granted


class MemoryRates(Rates):
    """The limits of a ledger in memory.

    Args:
        call: A block of one operation, undisturbed by others; gives its time.
    """

    def __init__(self, call: Callable[[], AbstractContextManager[int]]) -> None:
        self._call = call
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._held: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)  # (domain, owner) -> until when
        self._slowed: dict[str, dict[str, _Slowed]] = defaultdict(dict)
        self._overrides: dict[str, tuple[str, dict[str, Limits]]] = {}
        self._seen: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)  # (relay, stretch of time)
        self._since: dict[tuple[str, int], int] = {}  # when the first count of it came
        self._used: dict[str, tuple[int, str]] = {}  # when last, under which limits

    # -- the port

    def take(
        self, relay: str, wanted: Mapping[str, int], *, limits: Limits, owner: str, urgent: bool = False
    ) -> Permits:
        """See the port."""
        with self._call() as now:
            own = self._limits(relay, "", limits)
            whole = self._holder(relay, "", own, now, urgent=urgent)
            whole_free = self._may_hold(relay, "", whole.connections, owner, now)
            holders: dict[str, _Holder] = {}
            may: dict[str, int] = {}
            for domain, number in wanted.items():
                holder = self._holder(relay, domain, self._limits(relay, domain, limits), now, urgent=urgent)
                holders[domain] = holder
                free = whole_free and self._may_hold(relay, domain, holder.connections, owner, now)
                may[domain] = int(min(number, holder.room())) if free else 0
            granted = _shared(may, whole.room())
            for domain, given in granted.items():
                if given > 0:
                    for each, name in ((holders[domain], domain), (whole, "")):
                        if each.is_limited:
                            each.charge(given)
                            self._accounts[relay, name] = each.account
                    self._hold(relay, domain, holders[domain].connections, owner, now)
                    self._hold(relay, "", whole.connections, owner, now)
            written = self._overrides.get(relay, ("", {}))[1].get("", limits)
            self._used[relay] = now, written.own
            waits = {}
            for domain, number in wanted.items():
                if granted[domain] < number:
                    wait = max(holders[domain].wait(), whole.wait())
                    if not whole_free or not self._may_hold(relay, domain, holders[domain].connections, owner, now):
                        wait = max(wait, _WAIT_HELD)
                    waits[domain] = wait / 1000
            paced = {domain: min(holder.rate, whole.rate) for domain, holder in {"": whole, **holders}.items()}
            narrow = [domain for domain, holder in {"": whole, **holders}.items() if holder.connections is not None]
            return Permits(
                granted, waits, {domain: rate for domain, rate in paced.items() if rate < _NEVER}, frozenset(narrow)
            )

    def give_back(self, relay: str, unused: Mapping[str, int]) -> None:
        """See the port."""
        with self._call() as now:
            for domain, number in unused.items():
                for each in {"", domain}:
                    account = self._account(relay, each, now)
                    account.debt = max(0.0, account.debt - number)
                    for window in account.windows.values():
                        window.take_off(number)

    def leave(self, relay: str, owner: str) -> None:
        """See the port."""
        with self._call():
            held = self._held[relay]
            for key in [key for key in held if key[1] == owner]:
                del held[key]

    def slow_down(self, relay: str, domain: str, *, limits: Limits | None = None, reason: str = "") -> float:
        """See the port."""
        with self._call() as now:
            known = self._slowed_now(relay, domain, now)
            if known is not None and 0 <= now - known.at < _QUIET:
                return known.now(now)
            if known is None:
                limit = self._limits(relay, domain, limits or Limits()).per_second
                seen = self._observed(relay, domain, now)
                base = full = limit if limit < _NEVER and not seen else min(limit, max(rates.LEAST_SEEN, seen))
            else:
                base, full = known.now(now), known.full
            rate = max(base / 2, rates.LOWEST)
            self._slowed[relay][domain] = _Slowed(rate, full, now, rules.short(reason))
            return rate

    def limited(self, relay: str, limits: Limits, *, sent: Mapping[str, int] | None = None) -> Mapping[str, float]:
        """See the port."""
        with self._call() as now:
            self._see(relay, sent or {}, now)
            self._tidy(now)
            slowed = {
                domain: each for domain in [*self._slowed[relay]] if (each := self._slowed_now(relay, domain, now))
            }
            named = ["", *limits.domains, *self._overrides.get(relay, ("", {}))[1], *slowed]
            found = {}
            for domain in dict.fromkeys(named):
                holds = self._limits(relay, domain, limits)
                rate = min([holds.per_second, *([slowed[domain].now(now)] if domain in slowed else [])])
                if rate < _NEVER or holds.connections is not None:
                    found[domain] = rate
            return found

    def override(self, relay: str, limits: str | None) -> None:
        """See the port."""
        parts = None if limits is None else Limits.parts(limits)
        with self._call():
            if parts is None:
                self._overrides.pop(relay, None)
            else:
                self._overrides[relay] = limits or "", parts

    def states(self) -> Mapping[str, RelayRates]:
        """See the port."""
        with self._call() as now:
            self._tidy(now)
            used = {relay for relay, (at, _) in self._used.items() if now - at < _KNOWN}
            slowed = {relay for relay, domains in self._slowed.items() if domains}
            states = (self._state(relay, now) for relay in sorted(used | slowed | set(self._overrides)))
            return {state.relay: state for state in states if state is not None}

    def _state(self, relay: str, now: int) -> RelayRates | None:
        _, parts = self._overrides.get(relay, ("", {}))
        at, last = self._used.get(relay, (0, ""))
        slowed = {domain: each for domain in [*self._slowed[relay]] if (each := self._slowed_now(relay, domain, now))}
        if now - at >= _KNOWN:
            last = ""
            if not parts and not slowed:
                return None
        domains = {}
        for domain in sorted({*parts, *slowed} - {""}):
            holds = parts.get(domain, Limits())
            rate = min([holds.per_second, *([slowed[domain].now(now)] if domain in slowed else [])])
            reason = slowed[domain].reason if domain in slowed else ""
            shown = rate if rate < _NEVER else None
            domains[domain] = DomainState(shown, domain in slowed, reason, holds.connections, domain in parts)
        account = self._account(relay, "", now)
        counted = {}
        for length, window in sorted(account.windows.items()):
            unit = str(Rate(1, length / 1000)).partition("/")[2]
            counted[unit] = window.as_of(now // (length // rates.SLOTS)).total
        own = parts[""].own if "" in parts else last
        return RelayRates(relay, own, "" in parts, counted, domains)

    # -- what holds

    def _limits(self, relay: str, domain: str, limits: Limits) -> Limits:
        """The limits of one holder: an override's before those of the settings, a name before "*"."""
        over = self._overrides.get(relay, ("", {}))[1]
        settings = limits.of(domain) if domain else limits
        found = over.get(domain)
        if found is None and domain and domain not in limits.domains:
            found = over.get(ANY_DOMAIN)
        if found is None:
            return Limits(settings.rates, {}, settings.connections, limits.urgent_share)
        # The quotas of the settings are counted all the same: they may hold again.
        said = {rate.seconds for rate in found.rates}
        counted = [Rate(_NEVER, rate.seconds) for rate in settings.rates if rate.seconds not in said | {1}]
        return Limits((*found.rates, *counted), {}, found.connections, limits.urgent_share)

    def _holder(self, relay: str, domain: str, limits: Limits, now: int, *, urgent: bool) -> _Holder:
        slowed = self._slowed_now(relay, domain, now) if domain else None
        account = self._account(relay, domain, now)
        return _Holder(account, limits, slowed.now(now) if slowed else _NEVER, now, urgent=urgent)

    def _account(self, relay: str, domain: str, now: int) -> _Account:
        account = self._accounts.get((relay, domain)) or _Account()
        account.forget(now)
        return account

    def _tidy(self, now: int) -> None:
        for key, account in [*self._accounts.items()]:
            account.forget(now)
            if not account.idle and not account.expires:
                del self._accounts[key]

    def _slowed_now(self, relay: str, domain: str, now: int) -> _Slowed | None:
        known = self._slowed[relay].get(domain)
        if known is not None and known.now(now) >= known.full:
            del self._slowed[relay][domain]
            return None
        return known

    # -- connections

    def _may_hold(self, relay: str, domain: str, connections: int | None, owner: str, now: int) -> bool:
        if connections is None:
            return True
        held = self._held[relay]
        for key in [key for key, until in held.items() if not now < until <= now + _HOLD]:
            del held[key]
        return (domain, owner) in held or sum(key[0] == domain for key in held) < connections

    def _hold(self, relay: str, domain: str, connections: int | None, owner: str, now: int) -> None:
        if connections is not None:
            self._held[relay][domain, owner] = now + _HOLD

    # -- what was seen

    def _see(self, relay: str, sent: Mapping[str, int], now: int) -> None:
        stretch = now // _OBSERVED
        if sent:
            self._since.setdefault((relay, stretch), now)
            self._seen[relay, stretch].update(sent)
        for key in [key for key in self._seen if key[0] == relay and key[1] < stretch - 1]:
            del self._seen[key], self._since[key]

    def _observed(self, relay: str, domain: str, now: int) -> float:
        """Messages a second that the fleet has sent there lately, as far as anybody has told."""
        stretch = now // _OBSERVED
        number, since = 0, None
        for each in (stretch - 1, stretch):
            key = relay, each
            if key in self._seen and self._seen[key][domain]:
                number += self._seen[key][domain]
                since = self._since[key] if since is None else since
        return 0.0 if since is None else number * 1000 / max(1000, now - since)
