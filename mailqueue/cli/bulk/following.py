"""Watching a campaign until it has ended, or until the one who watches has seen enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailqueue import bulk
from mailqueue.cli.bulk.watch import Sending
from mailqueue.cli.bulk.words import Clock, counted, sentence, tallies

if TYPE_CHECKING:
    from mailqueue.bulk import CampaignStatus

__all__ = ["conclude", "follow"]


def follow(campaign: str, clock: Clock) -> CampaignStatus:
    """Show it live until it has ended; Ctrl-C leaves it running and says so (exit status 130)."""
    bulk.status(campaign)  # one that is not there is told before anything is drawn
    try:
        with Sending(clock) as screen:
            status = bulk.wait(campaign, progress=screen)
    except KeyboardInterrupt:
        _leave(campaign)
        raise click.exceptions.Exit(130) from None
    conclude(status)
    return status


def _leave(campaign: str) -> None:
    click.echo(f"\n{campaign} goes on without you.", err=True)
    for what, command in (
        ("watch it", f"status {campaign} --watch"),
        ("pause it", f"pause {campaign}"),
        ("withdraw it", f"cancel {campaign}"),
    ):
        click.echo(f"  {what:12} mailqueue bulk {command}", err=True)


def conclude(status: CampaignStatus) -> None:
    """Tell how it ended, and what can be done about those whom it has not reached."""
    numbers = tallies(status)
    told = ", ".join(f"{number:,} {name}" for name, number in numbers.items())
    click.echo(f"{status.id}: {sentence(status) or status.state.value}; {counted(status.total)}: {told}")
    if numbers.get("refused"):
        click.echo(f"  who, and why:      mailqueue bulk export {status.id} --state failed", err=True)
        click.echo(f"  send these again:  mailqueue bulk retry {status.id}", err=True)
    if numbers.get("unknown") or numbers.get("held"):
        click.echo(
            "  sent or not, the answer was lost: mailqueue list --state unknown, mailqueue list --state held, "
            "then mailqueue resolve",
            err=True,
        )
