"""The kinds of settings that limit what relays are sent: rates, domains, a warm-up; and the relays, with their presets."""
# ruff: noqa: D102 - what each method does is told once, by Kind

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailqueue.conf.kinds import Entries, Kind
from mailqueue.presets import PRESETS
from mailqueue.rate import Limits, WarmUp, domain_name

__all__ = ["DomainLimits", "RateLimits", "Relays", "WarmUpDays"]


class RateLimits(Kind):
    """What a relay may be sent: ``14/s, 50000/d``."""

    def take(self, value: Any) -> Limits:
        if isinstance(value, Limits):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text; write limits such as 14/s, 50000/d")  # noqa: TRY004 - told as one problem
        return Limits.parse(value)


class DomainLimits(Kind):
    """What single domains may be sent: domain -> ``5/s, 2 connections``; ``*`` is every other one."""

    def take(self, value: Any) -> dict[str, Limits]:
        if not isinstance(value, Mapping):
            raise ValueError('it must map domains to their limits, such as {"gmail.com": "5/s, 2 connections"}')  # noqa: TRY004 - as above
        found = {}
        for domain, text in value.items():
            if not isinstance(text, (str, Limits)):
                raise ValueError(f"{domain}: {text!r} is no text; write limits such as 5/s, 2 connections")  # noqa: TRY004 - as above
            try:
                found[domain_name(domain)] = text if isinstance(text, Limits) else Limits.of_domain(domain, text)
            except ValueError as error:
                raise ValueError(f"{domain}: {error}") from None
        return found


class WarmUpDays(Kind):
    """A relay's first days."""

    def take(self, value: Any) -> WarmUp:
        if isinstance(value, WarmUp):
            return value
        if not isinstance(value, Mapping):
            raise ValueError('it must be like {"start": "2026-12-01", "first": 500, "factor": 1.5, "days": 14}')  # noqa: TRY004 - as above
        return WarmUp.read(value)


class Relays(Entries):
    """What is different for single relays; a preset stands for options, and those that are written go before it."""

    def take(self, value: Any) -> dict[str, dict[str, Any]]:
        entries = super().take(value)
        return {alias: self._with_preset(alias, options) for alias, options in entries.items()}

    def _with_preset(self, alias: str, options: dict[str, Any]) -> dict[str, Any]:
        preset = PRESETS.get(options.get("preset", ""))
        if preset is None:
            return options
        return {key: self._option(alias, key, option) for key, option in preset.options().items()} | options
