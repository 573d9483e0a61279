"""The limits of each relay by the settings, as they are on a day: its rates, its domains', and its warm-up's quota."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.rate import URGENT_SHARE, Limits, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LimitsOfRelays"]

_DAY = 86400.0


class LimitsOfRelays:
    """The limits of every relay, by MAILQUEUE_RELAYS as it is when this is made."""

    def __init__(self) -> None:
        self._relays: Mapping[str, Mapping[str, Any]] = conf.get("MAILQUEUE_RELAYS")
        self._made: dict[str, tuple[int, Limits]] = {}  # by relay: on which day, in days since the epoch

    def of(self, relay: str, now: float) -> Limits:
        """The limits of the alias ``relay`` ("" is called "default" there) at ``now`` (s since the epoch)."""
        today = int(now // _DAY)
        day, limits = self._made.get(relay, (-1, _NONE))
        if day != today:
            limits = _limits(self._relays.get(relay or "default", {}), dt.date(1970, 1, 1) + dt.timedelta(days=today))
            self._made[relay] = today, limits
        return limits

    def slows(self, relay: str) -> bool:
        """Whether a domain is slowed when the relay's replies ask for less mail to it."""
        return bool(self._relays.get(relay or "default", {}).get("slow_down", True))

    def named(self) -> list[str]:
        """The relays that the settings have something to say of; the default one is ""."""
        return ["" if alias == "default" else alias for alias in self._relays]


_NONE = Limits()


def _limits(options: Mapping[str, Any], day: dt.date) -> Limits:
    limits: Limits = options.get("rates", _NONE)
    share = options.get("urgent_share", 100 * URGENT_SHARE) / 100
    limits = replace(limits, domains={**limits.domains, **options.get("domains", {})}, urgent_share=share)
    quota = options["warm_up"].quota(day) if "warm_up" in options else None
    return limits if quota is None else limits.with_rate(Rate(float(quota), _DAY))
