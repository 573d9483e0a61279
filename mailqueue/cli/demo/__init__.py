"""``mailqueue demo``: real mail through real servers of its own, and an account of every message."""

from __future__ import annotations

import sys

import click

from mailqueue.cli.demo.campaign import play
from mailqueue.cli.demo.campaign.screen import Screen as BulkScreen
from mailqueue.cli.demo.runner import DemoTrouble, run
from mailqueue.cli.demo.screen import Screen
from mailqueue.cli.stopping import clean_exit
from mailqueue.testing.helper import HelperTrouble
from mailqueue.testing.worker import WorkerTrouble

__all__ = ["demo"]

#: With more, the campaign would take longer than one watches; with fewer, nothing could happen meanwhile.
_RECIPIENTS = 50_000
_FASTEST = 800.0  # messages a second: what two cores reach with some to spare
_LONGEST = 12.0  # s that few recipients are spread over


@click.command(short_help="See it work: real mail, every byte checked.")
@click.option("--bulk", is_flag=True, help="A campaign of bulk mail instead, paused and with workers killed.")
@click.option(
    "--recipients",
    type=click.IntRange(min=1_000),
    default=_RECIPIENTS,
    show_default=True,
    help="Of the campaign.",
)
@click.option(
    "--rate", type=click.FloatRange(min=1), help="Limit of the campaign's relay, messages/s.  [default: 800 at most]"
)
def demo(bulk: bool, recipients: int, rate: float | None) -> None:
    """Send real mail through a real worker, kill one of its children on the way, and check everything.

    Starts a Valkey, a worker and an SMTP inbox of its own on free ports of 127.0.0.1, whatever the environment says,
    and leaves no process and no file behind. Sends text, HTML with an inline image, a PDF and a PNG, names that are
    not ASCII, copies, 500 messages at once, and mail that the inbox refuses, for good and at first. What arrives is
    compared byte for byte with what a synchronous send delivers. Takes some 15 seconds.

    With --bulk: a campaign to 50,000 recipients, personalised and with a PDF, through two workers under a rate limit
    for both. It is paused and resumed, a child and then a whole worker are killed, and urgent mail is sent all the
    time. In the end each recipient must have exactly one message that says what it should. Takes a minute or two.

    Exit status 0 only if all of it is right.
    """
    if bulk:
        _campaign(recipients, rate or min(_FASTEST, max(100.0, round(recipients / _LONGEST, -1))))
    screen = Screen()
    try:
        with clean_exit(), screen:
            report = run(screen.say, screen.show)
    except (DemoTrouble, WorkerTrouble) as trouble:
        raise click.ClickException(str(trouble)) from None
    screen.report(report)
    sys.exit(1 if report.problems else 0)


def _campaign(recipients: int, rate: float) -> None:
    screen = BulkScreen(recipients)
    try:
        with clean_exit(), screen:
            found, problems = play.run(recipients, rate, screen)
    except (DemoTrouble, WorkerTrouble, HelperTrouble) as trouble:
        raise click.ClickException(str(trouble)) from None
    screen.report(found, problems)
    sys.exit(1 if problems else 0)
