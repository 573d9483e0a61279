"""``mailqueue demo``: real mail through real servers of its own, and an account of every message."""

from __future__ import annotations

import sys

import click

from mailqueue.cli.demo.runner import DemoTrouble, run
from mailqueue.cli.demo.screen import Screen
from mailqueue.cli.stopping import clean_exit
from mailqueue.testing.worker import WorkerTrouble

__all__ = ["demo"]


@click.command(short_help="See it work: real mail, every byte checked.")
def demo() -> None:
    """Send real mail through a real worker, kill one of its children on the way, and check everything.

    Starts a Valkey, a worker and an SMTP inbox of its own on free ports of 127.0.0.1, whatever the environment says,
    and leaves no process and no file behind. Sends text, HTML with an inline image, a PDF and a PNG, names that are
    not ASCII, copies, 500 messages at once, and mail that the inbox refuses, for good and at first. What arrives is
    compared byte for byte with what a synchronous send delivers.

    Takes some 15 seconds. Exit status 0 only if all of it is right.
    """
    screen = Screen()
    try:
        with clean_exit(), screen:
            report = run(screen.say, screen.show)
    except (DemoTrouble, WorkerTrouble) as trouble:
        raise click.ClickException(str(trouble)) from None
    screen.report(report)
    sys.exit(1 if report.problems else 0)
