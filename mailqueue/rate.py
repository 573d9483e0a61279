"""Rates and limits as people write them: ``14/s``, ``50000/d``, ``gmail.com 5/s, 2 connections``; and a warm-up's ramp.

Pure: what a limit means for a message that waits is the ledger's (``mailqueue.ledger.rates``).
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANY_DOMAIN", "URGENT_SHARE", "Limits", "Rate", "WarmUp", "domain_name"]

#: The domain that stands for all those that are not named.
ANY_DOMAIN: Final = "*"

#: Part of a quota (per min, h or d) that is kept for urgent mail.
URGENT_SHARE: Final = 0.05

_UNLIMITED: Final = "unlimited"
_UNITS: Final[Mapping[str, float]] = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_OTHER_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("sec", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
}
_LIKE: Final = "14/s, 600/min, 5000/h or 50000/d"
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_GROUPED: Final = re.compile(r"\d{1,3}([,' ]\d{3})+(?=\s*/)")  # 50,000/d


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so many seconds."""

    messages: float
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """The rate that ``text`` means: a number, a slash, and s, min, h or d. Raises ValueError."""
        number, slash, unit = (part.strip() for part in text.partition("/"))
        if not slash or not _NUMBER.fullmatch(number):
            raise ValueError(f"{text!r} is no rate; write {_LIKE}")
        if unit not in _UNITS:
            meant = _OTHER_UNITS.get(unit.lower(), unit.lower())
            hint = f"{number}/{meant}" if meant in _UNITS else f"{number} for s, min, h or d, such as {number}/s"
            raise ValueError(f"{text!r} has no unit of time that we know; write {hint}")
        messages, seconds = float(number), _UNITS[unit]
        if not messages:
            raise ValueError(f"{text!r} lets nothing through; give a number above 0 (or pause what is to wait)")
        if unit != "s" and not messages.is_integer():
            raise ValueError(f"{text!r} is no whole number of messages; {_whole(messages, unit)}")
        return cls(messages, seconds)

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in _UNITS.items() if seconds == self.seconds), f"{_plain(self.seconds)}s")
        return f"{_plain(self.messages)}/{unit}"

    @property
    def per_second(self) -> float:
        """Messages a second, in the long run."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """What a relay, and each domain behind it, may be sent; empty: as much as it takes.

    ``connections``: at once, of the whole fleet. ``urgent_share``: part of each quota that is kept for urgent mail.
    """

    rates: tuple[Rate, ...] = ()
    domains: Mapping[str, Limits] = field(default_factory=dict)
    connections: int | None = None
    urgent_share: float = URGENT_SHARE

    @classmethod
    def parse(cls, text: str) -> Limits:
        """The limits that ``text`` means: those of a relay, and after semicolons those of single domains behind it.

        ``14/s, 50000/d; gmail.com 5/s, 2 connections; * 10/s``. Raises ValueError that says what would be right.
        """
        parts = cls.parts(text)
        own = parts.pop("", cls())
        return replace(own, domains=parts)

    @classmethod
    def parts(cls, text: str) -> dict[str, Limits]:
        """The limits in ``text`` by domain, "" for the relay's own; one that is not named has none. Raises ValueError."""
        found: dict[str, Limits] = {}
        for part in filter(None, map(str.strip, text.split(";"))):
            domain, limits = _divide(part)
            if domain in found:
                raise ValueError(f"{domain or 'the relay'} is limited twice in {text!r}; keep one of the two")
            found[domain] = _own(limits)
        if not found:
            raise ValueError(f"there is no limit in {text!r}; write {_LIKE}, or {_UNLIMITED}")
        return found

    @classmethod
    def of_domain(cls, domain: str, text: str) -> Limits:
        """The limits of one domain: ``5/s, 2 connections``. Raises ValueError."""
        parts = cls.parts(text)
        if set(parts) != {""}:
            raise ValueError(
                f"{text!r} names a domain; write what holds for {domain} alone, such as 5/s, 2 connections"
            )
        return parts[""]

    def __str__(self) -> str:
        return "; ".join([self.own, *(f"{domain} {limits.own}" for domain, limits in self.domains.items())])

    @property
    def own(self) -> str:
        """The limits without those of domains, as they are written."""
        words = [str(rate) for rate in self.rates]
        if self.connections is not None:
            words.append(f"{self.connections} connection{'s' * (self.connections != 1)}")
        return ", ".join(words) or _UNLIMITED

    def __bool__(self) -> bool:
        return bool(self.rates or self.connections or any(self.domains.values()))

    @property
    def per_second(self) -> float:
        """Messages a second, in the long run; infinite without a rate."""
        return min((rate.per_second for rate in self.rates), default=math.inf)

    def of(self, domain: str) -> Limits:
        """What holds for ``domain`` besides the relay's own limits."""
        found = self.domains.get(domain)
        return found if found is not None else self.domains.get(ANY_DOMAIN, _NONE)

    def with_rate(self, rate: Rate) -> Limits:
        """These, and ``rate`` as well: of two for the same time the lower one holds."""
        rates = {each.seconds: each for each in self.rates}
        known = rates.get(rate.seconds)
        if known is None or rate.messages < known.messages:
            rates[rate.seconds] = rate
        return replace(self, rates=tuple(rates[seconds] for seconds in sorted(rates)))


_NONE: Final = Limits()


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A relay's first days: a quota that grows from day to day, until nothing but the ordinary limits is left.

    Days are those of UTC, the first one is ``start``. Before it the first day's quota holds: a new address that has
    sent nothing yet is trusted with no more.
    """

    start: dt.date
    first: int  # messages of the first day
    factor: float = 1.5  # from one day to the next
    days: int = 14  # then it is over

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> WarmUp:
        """What the setting says: ``{"start": "2026-12-01", "first": 500, "factor": 1.5, "days": 14}``. Raises ValueError."""
        unknown = [key for key in facts if key not in {"start", "first", "factor", "days"}]
        if unknown or not {"start", "first"} <= facts.keys():
            wrong = f"it has {unknown[0]!r}" if unknown else "it lacks its start or its first quota"
            raise ValueError(f'{wrong}; write {{"start": "2026-12-01", "first": 500, "factor": 1.5, "days": 14}}')
        start = facts["start"]
        try:
            day = start if type(start) is dt.date else dt.date.fromisoformat(start)
        except (TypeError, ValueError):
            raise ValueError(f"start is {start!r}, which is no date; write one like 2026-12-01") from None
        first, factor, days = facts["first"], facts.get("factor", 1.5), facts.get("days", 14)
        if type(first) is not int or first < 1:
            raise ValueError(f"first is {first!r}; give the messages of the first day, a whole number such as 500")
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 < factor <= 10:
            raise ValueError(f"factor is {factor!r}; give by what a day's quota exceeds the last one's, such as 1.5")
        if type(days) is not int or not 1 <= days <= 365:
            raise ValueError(f"days is {days!r}; give a whole number of days up to 365, such as 14")
        return cls(day, first, float(factor), days)

    def quota(self, day: dt.date) -> int | None:
        """Messages of ``day``; None once the warm-up is over."""
        passed = max(0, (day - self.start).days)
        return None if passed >= self.days else math.floor(self.first * self.factor**passed)


def domain_name(domain: str) -> str:
    """``domain`` as limits name it: lower-cased, with the letters of DNS (IDNA) where that can be told."""
    name = domain.strip().lower().rstrip(".")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name


def _divide(part: str) -> tuple[str, str]:
    """The domain that ``part`` begins with, if it does, and the rest."""
    first, _, rest = part.partition(" ")
    if "/" in first or first.rstrip(",") == _UNLIMITED or _NUMBER.fullmatch(first):
        return "", part
    domain = domain_name(first)
    if domain != ANY_DOMAIN and not re.fullmatch(r"[\w-]+(\.[\w-]+)*|\[.+\]", domain):
        raise ValueError(f"{first!r} is neither a rate nor a domain; write {_LIKE}, or gmail.com 5/s")
    if not rest.strip():
        raise ValueError(f"{part!r} has no limit; write {_LIKE}, or a domain and its limit: gmail.com 5/s")
    return domain, rest


def _own(text: str) -> Limits:
    """The limits of one holder: rates and a number of connections, with commas between."""
    if text.strip() == _UNLIMITED:
        return Limits()
    if grouped := _GROUPED.search(text):
        plain = re.sub(r"\D", "", grouped[0])
        raise ValueError(f"{grouped[0]!r} has separators in it; write {plain}")
    rates: dict[float, Rate] = {}
    connections = None
    for word in map(str.strip, text.split(",")):
        counted = re.fullmatch(r"(\d+) ?connections?", word)
        if counted and connections is None and int(counted[1]) > 0:
            connections = int(counted[1])
        elif counted:
            wrong = "lets nothing through" if int(counted[1]) == 0 else "is a second number of connections"
            raise ValueError(f"{word!r} {wrong}; write one, of 1 or more, such as 2 connections")
        else:
            rate = Rate.parse(word)
            if rate.seconds in rates:
                raise ValueError(f"{rates[rate.seconds]} and {rate} are for the same time; keep one of the two")
            rates[rate.seconds] = rate
    return Limits(tuple(rates[seconds] for seconds in sorted(rates)), connections=connections)


def _whole(messages: float, unit: str) -> str:
    """How to say the same in whole messages."""
    for longer in ("h", "d"):
        more = messages * _UNITS[longer] / _UNITS[unit]
        if more >= 1 and more.is_integer():
            return f"write {_plain(more)}/{longer}"
    return "give a whole number"


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(float(number))
