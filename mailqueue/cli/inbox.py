"""``mailqueue inbox``: the SMTP inbox alone."""

from __future__ import annotations

import click

from mailqueue.cli.arrivals import Printer
from mailqueue.cli.stopping import until_stopped
from mailqueue.testing.inbox import Inbox

__all__ = ["inbox"]


def _times(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """``ADDRESS`` is refused once, ``ADDRESS=TIMES`` so many times."""
    found = {}
    for value in values:
        address, sign, times = value.rpartition("=")
        if not sign:
            found[value] = 1
        elif address and times.isdecimal():
            found[address] = int(times)
        else:
            raise click.BadParameter(f"{value!r} is not ADDRESS or ADDRESS=TIMES")
    return found


@click.command(short_help="Run the SMTP inbox alone.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=1025, show_default=True, help="0 takes a free one.")
@click.option("--refuse", multiple=True, metavar="ADDRESS", help="Refuse this recipient for good (550). Repeatable.")
@click.option(
    "--greylist",
    multiple=True,
    callback=_times,
    metavar="ADDRESS[=TIMES]",
    help="Refuse this recipient at first (451), once or so many times. Repeatable.",
)
@click.option("--full", is_flag=True, help="Print whole messages, not a line each.")
def inbox(host: str, port: int, refuse: tuple[str, ...], greylist: dict[str, int], full: bool) -> None:
    """Run an SMTP inbox that takes every message and shows it. Ctrl-C ends it.

    \b
    Examples:
      mailqueue inbox
      mailqueue inbox --port 2525 --refuse gone@example.com --greylist slow@example.com=2

    Then let EMAIL_HOST=127.0.0.1 EMAIL_PORT=1025 point a worker at it. Nothing is kept, nothing is passed on.
    """
    with Inbox(host, port, refuse=refuse, greylist=greylist, on_arrival=Printer(full=full), keep=0) as server:
        click.echo(f"Inbox on {server.host}:{server.port}; Ctrl-C ends it.", err=True)
        until_stopped()
