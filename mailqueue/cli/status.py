"""``mailqueue status``: counts per lane and state, or all about one message."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailqueue import producer
from mailqueue.cli import devstate
from mailqueue.cli.arrivals import visible
from mailqueue.cli.times import clock
from mailqueue.errors import SpoolError
from mailqueue.lanes import LANES
from mailqueue.ledger.states import State
from mailqueue.spool import open_spool

if TYPE_CHECKING:
    from mailqueue.report import MessageStatus

__all__ = ["status"]


@click.command(short_help="Tell what became of the mail.")
@click.argument("message_id", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(message_id: str | None, as_json: bool) -> None:
    """Tell how many messages are in which state, or all about the message ID.

    \b
    Examples:
      mailqueue status
      mailqueue status 0192f5c8a1b27d3f --json

    The states: scheduled, queued, sending, deferred (to be tried again), unknown (sent or not: the answer was lost),
    held; and for good: sent, partial (some recipients refused), failed, expired, cancelled. Exit status 1 for an id
    that the ledger does not know (it forgets a message some days after its end: MAILQUEUE_RETENTION).
    """
    devstate.use_if_unset()
    if message_id is None:
        counts = producer.counts()
        _print(json.dumps(counts) if as_json else _counts(counts))
        _tell_of_the_spool()
        return
    found = producer.status(message_id)
    _print(json.dumps(_plain(found)) if as_json else _message(found))


def _print(what: str | Table) -> None:
    if isinstance(what, str):
        click.echo(what)
    else:
        Console(highlight=False).print(what)


def _tell_of_the_spool() -> None:
    """On stderr: what the ledger does not count yet."""
    spool = open_spool()
    if spool is None:
        return
    try:
        found = spool.status()
    except SpoolError as error:
        click.echo(f"(note: {error})", err=True)
    else:
        if found.waiting or found.held:
            click.echo(f"(and in the spool of this host: {found.waiting} waiting, {found.held} held)", err=True)
    finally:
        spool.close()


def _counts(counts: dict[str, dict[str, int]]) -> Table:
    """A row per lane, a column for each state that any message is in."""
    states = [state for state in State if any(lane.get(state) for lane in counts.values())]
    table = Table(box=None, pad_edge=False)
    table.add_column("lane")
    for state in states or [State.QUEUED]:
        table.add_column(state.value, justify="right")
    for lane in (*LANES, *sorted(set(counts) - set(LANES))):
        found = counts.get(lane, {})
        table.add_row(lane, *(str(found.get(state, 0)) for state in states or [State.QUEUED]))
    return table


def _message(found: MessageStatus) -> Table:
    """All about one message, a line each, its recipients last."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("id", found.id)
    table.add_row("state", f"{found.state} ({found.reason})" if found.reason else found.state.value)
    table.add_row("lane", found.lane)
    table.add_row("relay", found.relay or "default")
    table.add_row("attempts", str(found.attempts))
    for name, number in (("crashes", found.crashes), ("lost answers", found.unknowns)):
        if number:
            table.add_row(name, str(number))
    table.add_row("accepted", clock(found.accepted_at))
    table.add_row("updated", clock(found.updated_at))
    if found.due_at is not None:
        table.add_row("due", clock(found.due_at))
    for recipient, result in found.recipients.items():
        # What a relay or a sender has written is shown, never interpreted.
        line = f"{recipient}: {result.verdict}" + (f", {result.reply}" if result.reply else "")
        table.add_row("recipient", Text("".join(map(visible, line.replace("\n", " ")))))
    return table


def _plain(found: MessageStatus) -> dict[str, Any]:
    """The status in JSON's types; times are s since the epoch."""
    plain: dict[str, Any] = {
        field.name: getattr(found, field.name) for field in dataclasses.fields(found) if field.name != "recipients"
    }
    plain["metadata"] = dict(found.metadata)
    plain["recipients"] = {
        recipient: {
            "verdict": result.verdict,
            "code": result.reply.code if result.reply else None,
            "text": result.reply.text if result.reply else None,
        }
        for recipient, result in found.recipients.items()
    }
    return plain
