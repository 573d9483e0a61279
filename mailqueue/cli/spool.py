"""``mailqueue spool``: what waits on this host's disk for the ledger."""

from __future__ import annotations

import dataclasses
import json
import time

import click

from mailqueue.cli import devstate
from mailqueue.cli.times import clock, span
from mailqueue.producer import get_producer
from mailqueue.spool import Spool, open_spool

__all__ = ["spool"]

_SHOWN = 20


@click.group()
def spool() -> None:
    """Look at the spool of this host, and empty it.

    \b
    Examples:
      mailqueue spool status
      mailqueue spool flush
      mailqueue spool drop 0192f5c8a1b27d3f

    Messages that the ledger could not take wait in the file that MAILQUEUE_SPOOL names. Later messages and workers on
    this host take them to the ledger by themselves; what has waited for longer than MAILQUEUE_RETENTION is held, and
    waits for a person: it may have been sent.
    """


@spool.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Tell how many messages wait, and which are held."""
    found = _open()
    now, held = found.status(), found.messages(_SHOWN, held=True)
    if as_json:
        held_messages = [dataclasses.asdict(each) for each in held]
        click.echo(json.dumps(dataclasses.asdict(now) | {"held_messages": held_messages}))
        return
    click.echo(f"spool    {now.path}")
    age = "" if now.oldest is None else f", the oldest for {span(max(0.0, time.time() - now.oldest))}"
    click.echo(f"waiting  {now.waiting}{age}")
    click.echo(f"held     {now.held}")
    click.echo(f"octets   {now.octets:,}")
    for each in held:
        click.echo(f"  {each.id} {each.lane}, spooled {clock(each.at)}: {each.held}")
    if now.held > len(held):
        click.echo(f"  ... and {now.held - len(held)} more")


@spool.command()
@click.option("--held", is_flag=True, help="Those that are held as well; some of them may go out a second time.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask first.")
def flush(held: bool, yes: bool) -> None:
    """Have the ledger accept what waits, now. Exit status 1 if the ledger is still away, or something is left."""
    found = _open()
    before = found.status()
    if held and before.held and not yes:
        click.confirm(f"{before.held} held, which may have been sent already. Send all the same?", abort=True, err=True)
    devstate.use_if_unset()
    producer = get_producer()
    count = found.replay(producer.ledger, producer.publisher, max(1, before.waiting + before.held), held=held)
    after = found.status()
    click.echo(f"{count} accepted, {after.waiting} waiting, {after.held} held")
    if after.waiting or (held and after.held):
        raise click.exceptions.Exit(1)


@spool.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def drop(ids: tuple[str, ...]) -> None:
    """Forget messages that are in the spool, waiting or held. Exit status 1 if one is not there."""
    dropped = set(_open().withdraw(ids))
    for message_id in ids:
        click.echo(f"{message_id} {'dropped' if message_id in dropped else 'missing'}")
    if dropped != set(ids):
        raise click.exceptions.Exit(1)


def _open() -> Spool:
    found = open_spool()
    if found is None:
        raise click.ClickException("there is no spool: MAILQUEUE_SPOOL is not set")
    click.get_current_context().call_on_close(found.close)
    return found
