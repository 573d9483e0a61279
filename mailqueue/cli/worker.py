"""``mailqueue worker``: Celery's worker, with the flags that suit mail."""

from __future__ import annotations

import os
import shlex

import click

from mailqueue import conf
from mailqueue.lanes import LANES
from mailqueue.launch import POOLS, worker_command

__all__ = ["worker"]


def _lanes(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = [name.strip().removeprefix("mailqueue.") for value in values for name in value.split(",") if name.strip()]
    for name in names:
        if name not in LANES:
            raise click.BadParameter(f"{name!r} is no lane; the lanes are {', '.join(LANES)}")
    return tuple(lane for lane in LANES if lane in names)


@click.command(short_help="Start a worker.", context_settings={"ignore_unknown_options": True})
@click.option(
    "-Q",
    "--lanes",
    multiple=True,
    callback=_lanes,
    help="Lanes to serve, separated by commas or repeated. Default: all, urgent mail first.",
)
@click.option(
    "-c", "--concurrency", type=click.IntRange(min=1), help="Processes or threads that send. Default: one a core."
)
@click.option("-P", "--pool", type=click.Choice(POOLS), default="prefork", show_default=True)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
    default="INFO",
    show_default=True,
)
@click.option("-n", "--name", help="Node name; must be unique among the workers of one host. Default: celery.")
@click.option("--dry-run", is_flag=True, help="Print the command and stop.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS...]")
def worker(
    lanes: tuple[str, ...],
    concurrency: int | None,
    pool: str,
    loglevel: str,
    name: str | None,
    dry_run: bool,
    options: tuple[str, ...],
) -> None:
    """Start a worker: checks the settings, then becomes `celery -A workers worker`.

    \b
    Examples:
      mailqueue worker                                 all lanes, one process a core
      mailqueue worker -Q urgent -c 2                  two processes for urgent mail alone
      mailqueue worker -P threads -c 20                many slow relays
      mailqueue worker -- --max-memory-per-child 300000

    SIGTERM ends it: it finishes what it is sending, gives back the rest, and says QUIT to the relays. Options after
    `--` go to Celery as they are.
    """
    command = worker_command(
        lanes=lanes, pool=pool, concurrency=concurrency, loglevel=loglevel.upper(), name=name, options=options
    )
    click.echo(shlex.join(command), err=True)
    if dry_run:
        return
    conf.check("worker")
    os.execv(command[0], command)  # noqa: S606 - no shell: signals go to Celery itself
