"""``mailqueue relays``: the relays that the workers leave alone, and a way to have them asked again."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

from mailqueue.cli import devstate
from mailqueue.cli.times import clock, span
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from mailqueue.ledger.base import RelayMark

__all__ = ["relays"]


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON object a line.")
@click.pass_context
def relays(ctx: click.Context, as_json: bool) -> None:
    """List the relays that are in trouble, and why.

    \b
    Examples:
      mailqueue relays
      mailqueue relays retry default
      mailqueue relays retry office

    The workers leave such a relay alone, all of them, and one asks it again after 5 s, then ever more seldom, at most
    every 5 minutes. One that has refused the user or password is not asked again with these before they are changed.
    """
    if ctx.invoked_subcommand is not None:
        return
    devstate.use_if_unset()
    marks = sorted(get_producer().ledger.relay_states().values(), key=lambda mark: mark.since)
    if as_json:
        for mark in marks:
            click.echo(json.dumps(dataclasses.asdict(mark)))
        return
    for mark in marks:
        click.echo(f"{mark.relay or 'default'}  since {clock(mark.since)}  {_what(mark)}: {mark.reason}")
    if not marks:
        click.echo("No relay is in trouble.")


@relays.command()
@click.argument("alias")
def retry(alias: str) -> None:
    """Have ALIAS of MAILERS asked again with the next message ("default": the default relay), whatever it said.

    Messages that wait for it keep their due times. Exit status 1 if it was not in trouble.
    """
    devstate.use_if_unset()
    if not get_producer().ledger.relay_recovered("" if alias == "default" else alias, by_hand=True):
        raise click.ClickException(f"{alias} is in no trouble")
    click.echo(f"{alias} will be asked again")


def _what(mark: RelayMark) -> str:
    if mark.latched and not mark.times:
        return "refused the login, not asked again before it is changed"
    left = mark.until - time.time()
    if mark.prober:
        return "being asked just now"
    when = f"to be asked in {span(left)}" if left >= 1 else "to be asked with the next message"
    return f"failed {mark.times} time{'s' * (mark.times > 1)}, {when}"
