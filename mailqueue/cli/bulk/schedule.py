"""``mailqueue bulk schedule``: campaigns that recur, started by the workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from mailqueue.bulk import recurring
from mailqueue.cli import devstate
from mailqueue.cli.bulk.options import SPAN, ZONE, using
from mailqueue.lanes import LANES

if TYPE_CHECKING:
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from mailqueue.bulk.recurring import Schedule

__all__ = ["schedule"]


@click.group(short_help="Start campaigns again and again.")
def schedule() -> None:
    """Start campaigns again and again: no process has to run for it but the workers.

    \b
    Examples:
      mailqueue bulk schedule add digest '0 9 * * mon' /srv/digest.toml /srv/members.csv --time-zone Europe/Paris
      mailqueue bulk schedule list
      mailqueue bulk schedule remove digest
    """


@schedule.command()
@click.argument("name")
@click.argument("crontab")
@click.argument("template", metavar="TEMPLATE.toml")
@click.argument("recipients")
@click.option("--time-zone", type=ZONE, required=True, help="On whose clocks, such as Europe/Paris.")
@click.option(
    "--catch-up",
    type=click.Choice(("skip", "once")),
    default="skip",
    show_default=True,
    help="Of moments at which no worker ran: leave them, or make up for the last one.",
)
@click.option("--expires-in", type=SPAN, help="Nothing is sent so long after each start: 8h.")
@click.option("--list", "list_name", metavar="NAME", default="", help="The list it goes to.")
@click.option("--using", multiple=True, callback=using, metavar="ALIAS[=WEIGHT]", help="As for `bulk send`.")
@click.option("--lane", type=click.Choice(LANES), default="bulk", show_default=True)
@click.option("--quiet", metavar="HOURS", help="Hours of rest: 22:00-07:00, on the same clocks.")
@click.option("--on-error", type=click.Choice(("stop", "skip")), default="stop", show_default=True)
def add(
    name: str,
    crontab: str,
    template: str,
    recipients: str,
    time_zone: ZoneInfo,
    catch_up: Any,
    expires_in: timedelta | None,
    list_name: str,
    using: Any,
    lane: str,
    quiet: str | None,
    on_error: Any,
) -> None:
    """Start a campaign at each moment that CRONTAB names; under a NAME that is taken, in place of what was there.

    \b
    Examples:
      mailqueue bulk schedule add digest '0 9 * * mon' /srv/digest.toml /srv/members.csv --time-zone Europe/Paris
      mailqueue bulk schedule add daily '30 7 * * *' /srv/daily.toml shop.mail.members --time-zone UTC --catch-up once

    CRONTAB is minute, hour, day of the month, month, day of the week. The workers read both files anew each time, so
    these must be where they can; in place of the second one, RECIPIENTS may be the dotted path of a function. Each
    campaign's id is the name and the moment: digest-20260105t0800z.

    Exit status 1 for what cannot be.
    """
    devstate.use_if_unset()
    if quiet and len(quiet.split()) < 2:
        quiet = f"{quiet.strip()} {time_zone.key}"
    made = recurring.schedule(
        name,
        crontab,
        time_zone=time_zone.key,
        template=template,
        recipients=recipients,
        catch_up=catch_up,
        expires_in=expires_in,
        using=using,
        lane=lane,
        list=list_name,
        quiet=quiet,
        on_error=on_error,
    )
    click.echo(f"{made.name} starts {_when(made)}")


@schedule.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON object a line.")
def listing(as_json: bool) -> None:
    """List the campaigns that recur, the one that starts next at the head."""
    devstate.use_if_unset()
    found = recurring.schedules()
    if as_json:
        for each in found:
            click.echo(json.dumps(_plain(each)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "crontab", "starts next", "recipients", "missed"):
        table.add_column(name)
    for each in found:
        missed = "made up once" if each.catch_up == "once" else "skipped"
        table.add_row(each.name, each.crontab, _when(each), each.recipients, missed)
    Console(highlight=False, markup=False).print(table if found else "nothing recurs")


@schedule.command()
@click.argument("name")
def remove(name: str) -> None:
    """Start no more of it; campaigns that have begun go on. Exit status 1 if there is none of this name."""
    devstate.use_if_unset()
    if not recurring.unschedule(name):
        raise click.ClickException(
            f"nothing recurs under the name {name!r}; `mailqueue bulk schedule list` has the names"
        )
    click.echo(f"{name} is not started any more")


def _when(made: Schedule) -> str:
    return f"{made.next_at:%Y-%m-%d %H:%M} {made.time_zone}"


def _plain(made: Schedule) -> dict[str, Any]:
    return {
        "name": made.name,
        "crontab": made.crontab,
        "time_zone": made.time_zone,
        "next_at": made.next_at.timestamp(),
        "recipients": made.recipients,
        "catch_up": made.catch_up,
    }
