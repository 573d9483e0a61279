"""``mailqueue bulk send``: a template file and a recipients' file become a campaign."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailqueue import bulk
from mailqueue.cli import devstate
from mailqueue.cli.bulk.following import follow
from mailqueue.cli.bulk.mistakes import refuse, told
from mailqueue.cli.bulk.options import ZONE, using
from mailqueue.cli.bulk.plan import Plan, expected
from mailqueue.cli.bulk.trial import check
from mailqueue.cli.bulk.watch import Loading
from mailqueue.cli.bulk.words import counted
from mailqueue.cli.times import LOCAL_WHEN
from mailqueue.errors import RecipientError, TemplateError
from mailqueue.lanes import LANES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.bulk import Campaign

__all__ = ["send"]

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_FILE_OR_INPUT = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)

_OPTIONS = (
    click.argument("template", type=_FILE, metavar="TEMPLATE.toml"),
    click.argument("recipients", type=_FILE_OR_INPUT, metavar="RECIPIENTS"),
    click.option("--campaign", metavar="ID", help="Its id: a-z 0-9 . _ -; made if left out."),
    click.option(
        "--list", "list_name", metavar="NAME", help="The list it goes to, for unsubscribing and suppressions."
    ),
    click.option(
        "--using",
        multiple=True,
        callback=using,
        metavar="ALIAS[=WEIGHT]",
        help="The entry of MAILERS to send through; repeatable, with weights.",
    ),
    click.option("--lane", type=click.Choice(LANES), help="Default: bulk."),
    click.option("--start-at", type=LOCAL_WHEN, help="Not to be started before: a moment, or a duration from now."),
    click.option(
        "--expires-at", type=LOCAL_WHEN, help="Nothing is sent from then on; a duration counts from --start-at, or now."
    ),
    click.option("--quiet", metavar="HOURS", help="Hours of rest: '22:00-07:00 Europe/Paris', or with --time-zone."),
    click.option("--time-zone", type=ZONE, help="Of times that name none. Default: none is allowed."),
    click.option(
        "--on-error", type=click.Choice(("stop", "skip")), help="Recipients that cannot be used. Default: stop."
    ),
    click.option("--seed", "seeds", multiple=True, metavar="ADDRESS", help="Gets a copy first; repeatable."),
    click.option("--test", is_flag=True, help="The seeds get theirs, and that is all."),
    click.option("--dry-run", is_flag=True, help="Check everything, show the first message, store and send nothing."),
    click.option("--wait/--no-wait", default=None, help="Show how it goes until it has ended. Default: on a terminal."),
    click.option("-y", "--yes", is_flag=True, help="Do not ask first."),
)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


@click.command(short_help="Send a template to many recipients.")
@_options
def send(
    template: Path, recipients: Path, *, test: bool, dry_run: bool, wait: bool | None, yes: bool, **asked: Any
) -> None:
    """Send each of RECIPIENTS (CSV, JSON lines, or - for standard input) a message of their own, made of a template.

    \b
    Examples:
      mailqueue bulk send spring.toml members.csv --dry-run
      mailqueue bulk send spring.toml members.csv --test --seed me@example.com
      mailqueue bulk send spring.toml members.csv --campaign spring-news --list news
      mailqueue bulk send spring.toml members.jsonl --start-at '2026-12-01 09:00' --expires-at 8h \\
          --quiet 22:00-07:00 --time-zone Europe/Paris
      mailqueue bulk send spring.toml members.csv --using ses=3 --using mailgun=1
      psql -c "copy (select ...) to stdout csv header" | mailqueue bulk send spring.toml - --yes --no-wait

    docs/bulk-files.md tells what the files are to look like. What [campaign] in the template's file says holds unless an
    option says otherwise.

    Every recipient is tried with the template before the first message is sent: with a mistake anywhere nothing is sent,
    and all of them are told, unless they are to be skipped. An address that comes twice gets one message. Should it be
    interrupted while it loads, the same command with the same --campaign goes on.

    Prints the id of the campaign. Ctrl-C leaves a campaign that is being sent running. Exit status 1 if something cannot
    be used or the store is not there, 2 for wrong usage, 130 if you stopped looking.
    """
    try:
        plan = Plan.of(template, asked)
    except TemplateError as error:
        refuse(error)
    if test and not plan.seeds:
        raise click.UsageError("--test wants a --seed, who gets the message")
    if dry_run:
        check(plan, recipients)
        return
    devstate.use_if_unset()
    if not (test or yes):
        _ask(template, recipients)
    campaign = _load(plan, recipients, seeds_only=test)
    for seed in campaign.seeds:
        click.echo(f"{'test message' if test else 'seed'}: mailqueue status {seed.id}", err=True)
    if test:
        return
    click.echo(campaign.id)
    _tell(campaign)
    if wait if wait is not None else sys.stderr.isatty():
        follow(campaign.id, plan.clock)
    else:
        click.echo(f"watch it: mailqueue bulk status {campaign.id} --watch", err=True)


def _ask(template: Path, recipients: Path) -> None:
    if str(recipients) == "-":
        raise click.UsageError("recipients come on standard input, where nobody can answer: say --yes")
    click.confirm(f"Send {template} to about {counted(expected(recipients) or 0)}?", abort=True, err=True)


def _load(plan: Plan, recipients: Path, *, seeds_only: bool) -> Campaign:
    """Load it, with a bar; Exit(1) when recipients cannot be used, who are told one by one."""
    screen = Loading(expected(recipients))
    try:
        with screen:
            return bulk.send(plan.file, str(recipients), seeds_only=seeds_only, progress=screen, **plan.options)
    except (RecipientError, TemplateError) as error:
        refuse(error, screen.skipped)
    except KeyboardInterrupt:
        again = f"With --campaign {plan.options['campaign']} the same command goes on where it stopped."
        click.echo(f"\nInterrupted; nothing is sent before all are in. {again}", err=True)
        raise click.exceptions.Exit(130) from None


def _tell(campaign: Campaign) -> None:
    if not (campaign.added or campaign.duplicates or campaign.skipped):
        click.echo("it was complete already: nobody was added", err=True)
        return
    words = [f"{counted(campaign.added)} stored"]
    if campaign.duplicates:
        words.append(f"{counted(campaign.duplicates, 'duplicate')} left out")
    if campaign.skipped:
        words.append(f"{campaign.skipped:,} skipped")
    click.echo(", ".join(words), err=True)
    for line in told(campaign.mistakes, campaign.skipped):
        click.echo(f"  {line}", err=True)
