"""The rate limits in Redis or Valkey: one Lua script a call. Leaves the rules to ``lua/rates.lua`` and its users."""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailqueue.ledger import rules
from mailqueue.ledger.rates import DomainState, Permits, Rates, RelayRates
from mailqueue.rate import ANY_DOMAIN, Limits, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RedisRates"]


class RedisRates(Rates):
    """The limits of a ledger in Redis.

    Args:
        call: Runs a script of the ledger's by its name.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def take(
        self, relay: str, wanted: Mapping[str, int], *, limits: Limits, owner: str, urgent: bool = False
    ) -> Permits:
        spelt = {domain: _spelt(each) for domain, each in limits.domains.items()}
        others = spelt.get(ANY_DOMAIN, "")
        asked = "\n".join(
            f"{domain}\t{number}\t{spelt.get(domain, others)}\t{domain in spelt:d}" for domain, number in wanted.items()
        )
        fixed = relay, owner, int(urgent), limits.urgent_share, _spelt(limits), limits.own
        *lines, whole = self._call("rates_take", *fixed, asked).split(b"\n")
        granted: dict[str, int] = {}
        waits: dict[str, float] = {}
        rates: dict[str, float] = {}
        narrow: set[str] = set()
        for (domain, number), line in zip({**wanted, "": 0}.items(), [*lines, b"0 0 " + whole], strict=True):
            given, wait, rate, limited = line.split()
            if int(given) < number:
                waits[domain] = int(wait) / 1000
            if domain:
                granted[domain] = int(given)
            if rate != b"inf":
                rates[domain] = float(rate)
            if limited == b"1":
                narrow.add(domain)
        return Permits(granted, waits, rates, frozenset(narrow))

    def give_back(self, relay: str, unused: Mapping[str, int]) -> None:
        if unused:
            self._call("rates_give_back", relay, *(part for item in unused.items() for part in item))

    def leave(self, relay: str, owner: str) -> None:
        self._call("rates_leave", relay, owner)

    def slow_down(self, relay: str, domain: str, *, limits: Limits | None = None, reason: str = "") -> float:
        said = (limits or Limits()).of(domain)
        exact = limits is not None and domain in limits.domains
        return float(self._call("rates_slow_down", relay, domain, rules.short(reason), _spelt(said), int(exact)))

    def limited(self, relay: str, limits: Limits, *, sent: Mapping[str, int] | None = None) -> Mapping[str, float]:
        named = {"": limits, **limits.domains}
        arguments: list[Any] = [relay, len(named)]
        for domain, each in named.items():
            arguments += (domain, _spelt(each))
        for item in (sent or {}).items():
            arguments += item
        answer = self._call("rates_limited", *arguments).decode()
        pairs = (line.rsplit(" ", 1) for line in answer.split("\n") if line)
        return {domain: float(rate) for domain, rate in pairs}

    def override(self, relay: str, limits: str | None) -> None:
        arguments: list[Any] = [relay]
        if limits is not None:
            parts = Limits.parts(limits)
            arguments += (limits, parts[""].own if "" in parts else "")
            for domain, each in parts.items():
                arguments += (domain, _spelt(each))
        self._call("rates_override", *arguments)

    def states(self) -> Mapping[str, RelayRates]:
        states = (_state(*answer) for answer in self._call("rates_states"))
        return {state.relay: state for state in sorted(states, key=lambda state: state.relay)}


def _spelt(limits: Limits) -> str:
    """The limits of one holder as the scripts read them."""
    words = [f"{rate.messages:.17g}:{rules.milliseconds(rate.seconds)}" for rate in limits.rates]
    if limits.connections is not None:
        words.append(f"c{limits.connections}")
    return " ".join(words)


def _state(relay: bytes, written: bytes, by_hand: int, used: list[Any], domains: list[Any]) -> RelayRates:
    counted = {int(length): int(number) for length, number in zip(*[iter(used)] * 2, strict=True)}
    return RelayRates(
        relay.decode(),
        written.decode(),
        by_hand == 1,
        {str(Rate(1, length / 1000)).partition("/")[2]: counted[length] for length in sorted(counted)},
        {
            domain.decode(): DomainState(
                float(rate) if rate else None, slowed == 1, reason.decode(), connections or None, overridden == 1
            )
            for domain, rate, slowed, reason, connections, overridden in sorted(
                zip(*[iter(domains)] * 6, strict=True), key=lambda row: row[0]
            )
        },
    )
