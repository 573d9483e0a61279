"""The options of the commands for bulk mail, as they are written on the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from mailqueue.bulk.hours import zone_of
from mailqueue.cli.times import WHEN
from mailqueue.errors import InvalidMessage

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["SPAN", "ZONE", "using"]


class _Zone(click.ParamType):  # type: ignore[type-arg] # generic in the newest click alone
    """A time zone by its name."""

    name = "zone"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        try:
            return zone_of(value)
        except InvalidMessage as error:
            self.fail(str(error), param, ctx)


class _Span(click.ParamType):  # type: ignore[type-arg] # generic in the newest click alone
    """A duration alone, as ``WHEN`` has it."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = WHEN.convert(value, param, ctx)
        if not isinstance(found, timedelta):
            self.fail(f"{value!r} is no duration: write 30min, 8h or '1 d 12 h'", param, ctx)
        return found


ZONE: Final = _Zone()
SPAN: Final = _Span()


def using(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> str | dict[str, float] | None:
    """One ALIAS as it is, several with their weights."""
    if not values:
        return None
    weights: dict[str, float] = {}
    for value in values:
        alias, equals, weight = value.partition("=")
        if alias in weights:
            raise click.BadParameter(f"{alias!r} is given twice")
        try:
            weights[alias] = float(weight) if equals else 1.0
        except ValueError:
            raise click.BadParameter(f"{value!r}: the weight is no number; write ALIAS=2") from None
        if not 0 < weights[alias] < float("inf"):
            raise click.BadParameter(
                f"{value!r}: a weight is a number above 0; leave out whom nothing is to go through"
            )
    return next(iter(weights)) if len(weights) == 1 else weights
