"""``mailqueue list``: the messages in one state."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from mailqueue import control, producer
from mailqueue.cli import devstate
from mailqueue.cli.control import LISTED
from mailqueue.cli.times import clock
from mailqueue.errors import MessageNotFound
from mailqueue.lanes import LANES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.report import MessageStatus

__all__ = ["listing"]


@click.command("list")
@click.option("--state", type=click.Choice(LISTED), required=True)
@click.option("--lane", type=click.Choice(LANES), help="Only those of this lane.")
@click.option("--relay", metavar="ALIAS", help="Only those for this alias of MAILERS.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most messages.")
@click.option("--ids", "bare", is_flag=True, help="Print nothing but ids.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON object a line.")
def listing(state: str, lane: str | None, relay: str | None, limit: int, bare: bool, as_json: bool) -> None:
    """List the messages in a state, oldest first; `mailqueue status ID` tells all about one.

    \b
    Examples:
      mailqueue list --state held
      mailqueue list --state failed --relay office --limit 1000 --ids | xargs mailqueue requeue
      mailqueue list --state deferred --lane urgent --json

    Messages that are sent, expired or cancelled are counted (`mailqueue status`) and not listed. No addresses are
    shown.
    """
    devstate.use_if_unset()
    ids = itertools.islice(control.find(state, lane=lane, relay=relay), limit)
    if bare:
        for message_id in ids:
            click.echo(message_id)
    elif as_json:
        for found in _look_up(ids):
            click.echo(json.dumps(_plain(found)))
    else:
        _print(_look_up(ids))


def _look_up(ids: Iterator[str]) -> Iterator[MessageStatus]:
    for message_id in ids:
        try:
            yield producer.status(message_id)
        except MessageNotFound:
            continue  # forgotten since


def _print(messages: Iterator[MessageStatus]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("id", "lane", "relay", "tries", "accepted", "due", "reason"):
        table.add_column(name, no_wrap=name == "id", justify="right" if name == "tries" else "left")
    for found in messages:
        due = "" if found.due_at is None else clock(found.due_at)
        table.add_row(
            found.id,
            found.lane,
            found.relay or "default",
            str(found.attempts),
            clock(found.accepted_at),
            due,
            found.reason,
        )
    Console(highlight=False, markup=False).print(table if table.row_count else "no such messages")


def _plain(found: MessageStatus) -> dict[str, Any]:
    names = "id state lane relay attempts crashes unknowns accepted_at updated_at due_at reason"
    return {name: getattr(found, name) for name in names.split()}
