"""``mailqueue suppress``: the addresses and domains that bulk mail does not go to, and why."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import IO, TYPE_CHECKING, Literal

import click

from mailqueue.bulk import suppression
from mailqueue.cli import devstate
from mailqueue.cli.times import clock

if TYPE_CHECKING:
    from mailqueue.ledger.suppressions import Suppression

__all__ = ["suppress"]

_list = click.option(
    "--list", "name", default="", metavar="NAME", help="The list it is about; by default all bulk mail."
)


@click.group()
def suppress() -> None:
    """Say who gets no bulk mail, of one list or of any.

    \b
    Examples:
      mailqueue suppress add ann@example.com --reason complaint
      mailqueue suppress add @example.com --list news
      mailqueue suppress why ann@example.com --list news
      mailqueue suppress remove ann@example.com
      mailqueue suppress import bounced.csv --reason refused
      mailqueue suppress export all.csv

    An entry is an address; or a domain, written @example.com, and @.example.com for all domains below it. Workers ask
    when they send, so that it counts for mail that is queued already. The urgent lane never asks.
    """
    devstate.use_if_unset()


@suppress.command()
@click.argument("entry", nargs=-1, required=True)
@_list
@click.option(
    "--reason",
    default="manual",
    show_default=True,
    help="unsubscribed, complaint, refused, manual, or a word of your own.",
)
@click.option("--source", default="mailqueue suppress", show_default=True, help="Who or what says so.")
def add(entry: tuple[str, ...], name: str, reason: str, source: str) -> None:
    """Send no bulk mail to these addresses or domains any more.

    \b
    Examples:
      mailqueue suppress add ann@example.com bob@example.com
      mailqueue suppress add @example.com --list news --reason "asked by phone"
    """
    new = sum(suppression.suppress(each, name, reason=reason, source=source) for each in entry)
    click.echo(f"{_entries(len(entry))} {_on(name)}, {new} of them new")


@suppress.command()
@click.argument("entry", nargs=-1, required=True)
@_list
def remove(entry: tuple[str, ...], name: str) -> None:
    """Take these addresses or domains off a list of the suppressed.

    \b
    Examples:
      mailqueue suppress remove ann@example.com
      mailqueue suppress remove @example.com --list news

    Exit status 1 if none of them was there.
    """
    gone = sum(suppression.unsuppress(each, name) for each in entry)
    if not gone:
        raise click.ClickException(
            f"none of them was suppressed for {name or 'all bulk mail'}; `mailqueue suppress why` tells what is"
        )
    click.echo(f"{_entries(gone)} no longer suppressed for {name or 'all bulk mail'}")


@suppress.command()
@click.argument("address")
@_list
def why(address: str, name: str) -> None:
    """Tell whether ADDRESS gets bulk mail of a list, and if not, which entry says so, and from where it came.

    \b
    Examples:
      mailqueue suppress why ann@example.com
      mailqueue suppress why ann@example.com --list news

    Exit status 1 if it does get it.
    """
    entry = suppression.is_suppressed(address, name)
    if entry is None:
        raise click.ClickException(f"it is not suppressed for {name or 'all bulk mail'}")
    click.echo(_line(entry))


@suppress.command("list")
@click.option(
    "--list", "name", metavar="NAME", help='One list alone ("" for that of all bulk mail); by default all lists.'
)
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON object a line.")
def listing(name: str | None, as_json: bool) -> None:
    """List the entries, in no order.

    \b
    Examples:
      mailqueue suppress list
      mailqueue suppress list --list news --json
    """
    found = False
    for entry in suppression.entries(name):
        found = True
        click.echo(json.dumps(dataclasses.asdict(entry)) if as_json else _line(entry))
    if not found and not as_json:
        click.echo("Nobody is suppressed.")


@suppress.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--list", "name", default="", metavar="NAME", help="For rows that name none; by default all bulk mail.")
@click.option("--reason", default="manual", show_default=True, help="For rows that give none.")
@click.option("--source", default="", help="For rows that give none; by default the file's name.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do at a row that is wrong.",
)
def import_(file: IO[str], name: str, reason: str, source: str, on_error: Literal["stop", "skip"]) -> None:
    """Add the entries of a CSV file (- for standard input). What is there already stays as it is.

    Columns: key (or address, email, domain), list, reason, source, at; the first alone must be there. The first row
    may be a header; without one that is their order.

    \b
    Examples:
      mailqueue suppress import all.csv
      mailqueue suppress import bounced.csv --reason refused --source "old system"
      grep -h @ *.txt | mailqueue suppress import - --list news

    Exit status 1 if a row is wrong: with --on-error stop at the first, with skip after all others were taken.
    """
    done = suppression.import_csv(file, name, reason=reason, origin=source, on_error=on_error)
    for problem in done.problems:
        click.echo(f"mailqueue: {problem}", err=True)
    click.echo(f"{_entries(done.rows)} read, {done.new} of them new, {done.skipped} skipped")
    if done.skipped:
        sys.exit(1)


@suppress.command()
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@click.option(
    "--list", "name", metavar="NAME", help='One list alone ("" for that of all bulk mail); by default all lists.'
)
def export(file: IO[str], name: str | None) -> None:
    """Write the entries to a CSV file, by default to standard output; ``import`` reads it again.

    \b
    Examples:
      mailqueue suppress export all.csv
      mailqueue suppress export --list news
    """
    number = suppression.export_csv(file, name)
    click.echo(f"{_entries(number)} written", err=True)


def _line(entry: Suppression) -> str:
    source = f"  ({entry.source})" if entry.source else ""
    return f"{clock(entry.at)}  {entry.key}  {entry.list or 'all bulk mail'}  {entry.reason}{source}"


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"


def _on(name: str) -> str:
    return f"suppressed for {name or 'all bulk mail'}"
