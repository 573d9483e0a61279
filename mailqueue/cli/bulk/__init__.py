"""``mailqueue bulk``: campaigns from the command line."""

from __future__ import annotations

import click

from mailqueue.cli.bulk.export import export
from mailqueue.cli.bulk.hands import cancel, pause, resume, retry
from mailqueue.cli.bulk.schedule import schedule
from mailqueue.cli.bulk.send import send
from mailqueue.cli.bulk.status import status

__all__ = ["bulk"]


@click.group()
def bulk() -> None:
    """Send a message of their own to each of many, and keep order: watch, pause, resume, withdraw, send again.

    \b
    Examples:
      mailqueue bulk send spring.toml members.csv --dry-run
      mailqueue bulk send spring.toml members.csv --campaign spring-news
      mailqueue bulk status spring-news --watch
      mailqueue bulk pause spring-news
      mailqueue bulk export spring-news --state failed

    docs/bulk.md tells more, docs/bulk-files.md what the files look like.
    """


for command in (send, status, pause, resume, cancel, retry, export, schedule):
    bulk.add_command(command)
