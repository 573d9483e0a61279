"""``mailqueue bulk status``: all campaigns in a table, one in detail, or one as it goes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailqueue import bulk
from mailqueue.cli import devstate
from mailqueue.cli.bulk.following import follow
from mailqueue.cli.bulk.options import ZONE
from mailqueue.cli.bulk.words import COLOURS, NAMES, Clock, done, percent, sentence, tallies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from mailqueue.bulk import CampaignStatus

__all__ = ["plain", "status"]


@click.command(short_help="Tell how campaigns stand.")
@click.argument("campaign", metavar="[ID]", required=False)
@click.option("--watch", is_flag=True, help="Show it live until it has ended; Ctrl-C leaves it running.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most campaigns.")
@click.option("--time-zone", type=ZONE, help="On whose clocks times are told. Default: those of this host.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON object a line.")
def status(campaign: str | None, watch: bool, limit: int, time_zone: ZoneInfo | None, as_json: bool) -> None:
    """Tell how the newest campaigns stand, or all about the campaign ID.

    \b
    Examples:
      mailqueue bulk status
      mailqueue bulk status spring-news
      mailqueue bulk status spring-news --watch
      mailqueue bulk status spring-news --json | jq .counts.failed

    Its recipients are: waiting (not yet a message), parked (while it is paused, or in quiet hours), sending
    (on the road), deferred (to be tried again), unknown (sent or not: the answer was lost), held; and for good: sent, refused,
    suppressed, expired, cancelled. `mailqueue bulk export ID` has them one by one.

    Exit status 1 for an id that the ledger does not know (it forgets a campaign some days after its end:
    MAILQUEUE_RETENTION).
    """
    if watch and (campaign is None or as_json):
        raise click.UsageError("--watch wants an ID, and no --json")
    devstate.use_if_unset()
    if campaign is None:
        found = bulk.campaigns(limit)
        if as_json:
            for each in found:
                click.echo(json.dumps(plain(each)))
        else:
            Console(highlight=False).print(_table(found) if found else "no campaigns")
    elif watch:
        follow(campaign, Clock(time_zone))
    else:
        one = bulk.status(campaign)
        if as_json:
            click.echo(json.dumps(plain(one)))
        else:
            Console(highlight=False).print(_detail(one, Clock(time_zone)))


def plain(status: CampaignStatus) -> dict[str, Any]:
    """The status in JSON's types; times are s since the epoch."""
    return dataclasses.asdict(status) | {"counts": dict(status.counts), "done": round(status.done, 6)}


def _table(found: Sequence[CampaignStatus]) -> Table:
    """A row per campaign, newest first; a column for each count that any of them has."""
    rows = [(each, tallies(each)) for each in found]
    names = [name for name in NAMES if any(name in numbers for _, numbers in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("campaign", "state", "recipients", "done", *names):
        table.add_column(name, justify="left" if name in ("campaign", "state") else "right", no_wrap=True)
    for each, numbers in rows:
        told = "quiet hours" if each.quiet else each.state.value
        cells = [_cell(name, numbers.get(name, 0)) for name in names]
        table.add_row(each.id, told, f"{each.total:,}", f"{percent(each)}", *cells)
    return table


def _cell(name: str, number: int) -> Text:
    return Text(f"{number:,}", COLOURS.get(name, "") if number else "dim")


def _detail(found: CampaignStatus, zoned: Clock) -> Table:
    """All about one campaign, a line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    told = sentence(found, zoned)
    table.add_row("campaign", found.id)
    table.add_row("state", f"{found.state.value}: {told}" if told and not told.startswith(found.state) else told)
    table.add_row("lane", found.lane)
    table.add_row("recipients", f"{found.total:,}, of them {done(found):,} done ({percent(found)})")
    for name, number in tallies(found).items():
        table.add_row(f"  {name}", _cell(name, number))
    for name, moment in (
        ("created", found.created_at),
        ("starts", found.start_at),
        ("started", found.started_at),
        ("ended", found.ended_at),
        ("expires", found.expires_at),
    ):
        if moment:
            table.add_row(name, zoned.full(moment))
    return table
