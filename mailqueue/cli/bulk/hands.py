"""``mailqueue bulk pause``, ``resume``, ``cancel`` and ``retry``: what can be done with a campaign."""

from __future__ import annotations

import click

from mailqueue import bulk
from mailqueue.bulk import CampaignState
from mailqueue.cli import devstate
from mailqueue.cli.bulk.words import counted, done, sentence

__all__ = ["cancel", "pause", "resume", "retry"]


@click.command(short_help="Let nothing more of a campaign begin.")
@click.argument("campaign", metavar="ID")
def pause(campaign: str) -> None:
    """Let nothing more of a campaign begin, until it is resumed.

    \b
    Example:
      mailqueue bulk pause spring-news

    What is on its way to a relay this moment ends as it does. Exit status 1 if the campaign is loading, has ended, or
    is not known.
    """
    devstate.use_if_unset()
    found = bulk.pause(campaign)
    click.echo(f"{found.id} is {found.state.value} at {done(found):,} of {counted(found.total)}")


@click.command(short_help="Go on with a paused campaign.")
@click.argument("campaign", metavar="ID")
def resume(campaign: str) -> None:
    """Go on with a paused campaign, at exactly the next recipient.

    \b
    Example:
      mailqueue bulk resume spring-news

    Exit status 1 if the campaign has ended or is not known.
    """
    devstate.use_if_unset()
    found = bulk.resume(campaign)
    told = sentence(found)
    click.echo(f"{found.id} is {found.state.value}" + (f": {told}" if told else ""))


@click.command(short_help="Withdraw a campaign for good.")
@click.argument("campaign", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask first.")
def cancel(campaign: str, yes: bool) -> None:
    """Withdraw a campaign for good: whoever has not got it does not get it.

    \b
    Examples:
      mailqueue bulk cancel spring-news
      mailqueue bulk cancel spring-news --yes

    Exit status 1 if the campaign has ended already or is not known.
    """
    devstate.use_if_unset()
    before = bulk.status(campaign)
    left = before.total - done(before)
    if not yes and before.state is not CampaignState.CANCELLED:
        click.confirm(f"Withdraw {campaign}? {counted(left)} of {before.total:,} will not get it", abort=True, err=True)
    found = bulk.cancel(campaign)
    click.echo(f"{found.id} is {found.state.value} at {done(before):,} of {counted(found.total)}")


@click.command(short_help="Send again to those who were refused.")
@click.argument("campaign", metavar="ID")
def retry(campaign: str) -> None:
    """Send a campaign again to those whom a relay has refused, and to nobody else.

    \b
    Example:
      mailqueue bulk export spring-news --state failed     who that would be
      mailqueue bulk retry spring-news

    Exit status 1 if the campaign was cancelled, has expired, or is not known.
    """
    devstate.use_if_unset()
    count = bulk.retry(campaign)
    click.echo(f"{campaign}: {counted(count)} to be sent to again" if count else f"{campaign}: nobody was refused")
