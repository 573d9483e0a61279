"""``mailqueue rates``: what the fleet may send through each relay, what it has sent, and a way to change that at once."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

from mailqueue.cli import devstate
from mailqueue.limits import LimitsOfRelays
from mailqueue.presets import PRESETS
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.ledger.rates import DomainState, RelayRates
    from mailqueue.rate import Limits

__all__ = ["rates"]

_BY_HAND = "set by hand"


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON object a line.")
@click.pass_context
def rates(ctx: click.Context, as_json: bool) -> None:
    """Show the limits of each relay, what was used of its quotas, and the domains that are slowed.

    \b
    Examples:
      mailqueue rates
      mailqueue rates set ses "20/s, 100000/d"
      mailqueue rates set default 14/s "gmail.com 5/s, 2 connections"
      mailqueue rates reset ses

    Limits are those of the settings here, unless they were set by hand; workers may have other settings.
    """
    if ctx.invoked_subcommand is not None:
        return
    devstate.use_if_unset()
    states = get_producer().ledger.rates.states()
    settings = LimitsOfRelays()
    shown = [relay for relay in settings.named() if settings.of(relay, time.time()) or relay in states]
    for relay in dict.fromkeys([*shown, *states]):
        limits, state = settings.of(relay, time.time()), states.get(relay)
        lines = _json(relay, limits, state) if as_json else _lines(relay, limits, state)
        for line in lines:
            click.echo(line)
    if not shown and not states and not as_json:
        click.echo("No relay is limited.")


@rates.command("set")
@click.argument("relay")
@click.argument("limits", nargs=-1, required=True)
def set_(relay: str, limits: tuple[str, ...]) -> None:
    """Let LIMITS hold for RELAY from now on, for the whole fleet, instead of those of the settings.

    RELAY is an alias of MAILERS, or "default". The first of LIMITS are the relay's: rates such as "14/s, 50000/d" and
    connections; then come those of single domains: "gmail.com 5/s, 2 connections", "* 20/s". "unlimited" takes limits
    away. Who is not named keeps the limits of the settings.
    """
    devstate.use_if_unset()
    text = "; ".join(limits)
    try:
        get_producer().ledger.rates.override(_alias(relay), text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"{relay}: {text}, from now on")


@rates.command()
@click.argument("relay")
def reset(relay: str) -> None:
    """Let the limits of the settings hold for RELAY again."""
    devstate.use_if_unset()
    get_producer().ledger.rates.override(_alias(relay), None)
    click.echo(f"{relay}: the limits of the settings, from now on")


@rates.command()
def presets() -> None:
    """List the providers whose published limits have a name for MAILQUEUE_RELAYS."""
    for name, preset in PRESETS.items():
        facts = [preset.rates] if preset.rates else []
        facts += [f"{preset.max_messages} messages a connection"] if preset.max_messages else []
        facts += [f"{preset.recipients} recipients a message"] if preset.recipients else []
        click.echo(f"{name:<24}{', '.join(facts)}")


def _alias(relay: str) -> str:
    return "" if relay == "default" else relay


def _lines(relay: str, limits: Limits, state: RelayRates | None) -> Iterator[str]:
    by_hand = state is not None and state.overridden
    own = state.limits if state is not None and (by_hand or not limits) and state.limits else limits.own
    used = ", ".join(f"{number} in the last {unit}" for unit, number in state.used.items()) if state else ""
    notes = [_BY_HAND] * by_hand + ([f"sent {used}"] if used else [])
    yield "  ".join([relay or "default", own, *notes])
    domains = state.domains if state else {}
    for domain in dict.fromkeys([*limits.domains, *domains]):
        yield f"  {domain}  {_domain(limits.domains.get(domain), domains.get(domain))}"


def _domain(limits: Limits | None, state: DomainState | None) -> str:
    if state is None or not (state.slowed or state.overridden):
        return limits.own if limits else "unlimited"
    connections = f"{state.connections} connections" if state.connections else ""
    rate = f"{state.rate:.3g}/s" if state.rate is not None else ""
    words = ", ".join(filter(None, (rate, connections))) or "unlimited"
    notes = [_BY_HAND] * state.overridden
    notes += [f"slowed, as the relay asked: {state.reason or 'no reason was told'}"] * state.slowed
    return "  ".join([words, *notes])


def _json(relay: str, limits: Limits, state: RelayRates | None) -> Iterator[str]:
    facts = dataclasses.asdict(state) if state else {}
    yield json.dumps({"relay": relay, "settings": str(limits), **facts})
