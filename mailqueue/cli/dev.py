"""``mailqueue dev``: store, worker and inbox for development, kept running."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path

import click

from mailqueue import conf
from mailqueue.cli import devstate
from mailqueue.cli.arrivals import Printer
from mailqueue.cli.stopping import clean_exit, until_stopped
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.worker import Worker, WorkerTrouble

__all__ = ["dev"]


@click.command(short_help="Run a store, a worker and an inbox for development.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the store's data here, for the next time. Default: a temporary directory.",
)
@click.option("--store-port", type=click.IntRange(0, 65535), default=0, help="Port of the store. Default: a free one.")
@click.option("--inbox-port", type=click.IntRange(0, 65535), default=0, help="Port of the inbox. Default: a free one.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--full", is_flag=True, help="Print whole messages as they arrive, not a line each.")
def dev(directory: Path | None, store_port: int, inbox_port: int, concurrency: int, full: bool) -> None:
    """Run a store, a worker and an SMTP inbox, and show the mail that arrives. Ctrl-C ends all of them.

    \b
    Examples:
      mailqueue dev
      mailqueue dev --directory .mailqueue --store-port 6399    the same store and address each time

    Meanwhile `mailqueue send` and `mailqueue status` in another terminal find it by themselves (unless
    MAILQUEUE_BROKER_URL is set); your application finds it by the lines that it prints. Everything listens on
    127.0.0.1, and no mail leaves the machine: EMAIL_HOST and every alias of MAILERS lead to the inbox here.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(clean_exit())
        inbox = stack.enter_context(Inbox(port=inbox_port, on_arrival=Printer(full=full), keep=0))
        store = stack.enter_context(EmbeddedValkey(directory, port=store_port))
        settings = {
            "MAILQUEUE_BROKER_URL": store.url,
            "EMAIL_HOST": inbox.host,
            "EMAIL_PORT": str(inbox.port),
        }
        try:
            worker = stack.enter_context(Worker({**settings, **_of_the_project(inbox)}, concurrency=concurrency))
        except WorkerTrouble as trouble:
            raise click.ClickException(str(trouble)) from None
        found = stack.enter_context(devstate.announced(settings))
        _tell(settings, found=found)
        until_stopped(lambda: worker.running and store.running)
        if not worker.running:
            raise click.ClickException(f"the worker has ended; its last lines:\n{worker.log[-4000:]}")
        if not store.running:
            raise click.ClickException("the store has ended")
        click.echo("\nStopping ...", err=True)


def _of_the_project(inbox: Inbox) -> dict[str, str]:
    """What the worker must know of the application's settings: where its mail is, and that every way out ends here."""
    way = {"BACKEND": conf.SMTP_BACKEND, "OPTIONS": {"host": inbox.host, "port": inbox.port}}
    return {
        "MAILQUEUE_KEY_PREFIX": conf.get("MAILQUEUE_KEY_PREFIX"),
        "MAILERS": json.dumps(dict.fromkeys(conf.get("MAILERS"), way)),
    }


def _tell(settings: dict[str, str], *, found: bool) -> None:
    click.echo("Store, worker and inbox are running; Ctrl-C ends them. For your application:\n")
    for name, value in settings.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    if found:
        click.echo("\nTry, in another terminal:\n\necho Hello | mailqueue send --to you@example.com --subject Hi")
    else:
        click.echo("\nAnother `mailqueue dev` is running: commands find that one unless they see the lines above.")
    click.echo("\nMail, as it arrives:")
