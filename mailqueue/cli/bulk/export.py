"""``mailqueue bulk export``: what became of each recipient, as CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from mailqueue import bulk
from mailqueue.bulk.report import COUNTED
from mailqueue.cli import devstate
from mailqueue.cli.bulk.words import counted

__all__ = ["export"]

_STATES = tuple(word for word in COUNTED if word != "parked")


@click.command(short_help="Tell what became of each recipient, as CSV.")
@click.argument("campaign", metavar="ID")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="These alone; repeatable.")
def export(campaign: str, output: Path | None, states: tuple[str, ...]) -> None:
    """Write a line for each recipient: address, state, and the relay's reply or the reason.

    \b
    Examples:
      mailqueue bulk export spring-news -o report.csv
      mailqueue bulk export spring-news --state failed
      mailqueue bulk export spring-news --state failed --state suppressed | cut -d, -f1

    CSV (RFC 4180), in the order in which recipients were given. Of a campaign that is being sent, each line is as it
    was when it was read. Exit status 1 if the campaign is not known.
    """
    devstate.use_if_unset()
    rows = bulk.export(campaign)
    wanted = frozenset(states or _STATES)
    file = sys.stdout if output is None else output.open("w", newline="", encoding="utf-8")
    try:
        writer = csv.writer(file, lineterminator="\r\n" if output else "\n")
        writer.writerow(("address", "state", "reply"))
        count = 0
        for row in rows:
            if row.state in wanted:
                writer.writerow((row.address, row.state, row.reply))
                count += 1
    finally:
        if output is not None:
            file.close()
    if output is not None:
        click.echo(f"{counted(count)} in {output}", err=True)
