"""``mailqueue check``: every problem of the settings at once."""

from __future__ import annotations

import click

from mailqueue import conf

__all__ = ["check"]


@click.command(short_help="Tell all problems of the settings at once.")
@click.option(
    "--role",
    type=click.Choice(["producer", "worker"]),
    help="Check only what this side needs; by default, what both need.",
)
def check(role: conf.Role | None) -> None:
    """Check the settings; tells all problems at once, each with its remedy.

    \b
    Examples:
      mailqueue check
      mailqueue check --role worker       before a deployment of workers

    Exit status 1 if there is a problem; a note (on stderr) is none. Connects to nothing.
    """
    conf.check(role)
    click.echo("The settings are in order.")
    for sentence in conf.advice():
        click.echo(f"mailqueue: note: {sentence}", err=True)
