"""``mailqueue retry-schedule``: when a message is tried again."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from mailqueue import conf
from mailqueue.cli.times import span
from mailqueue.lanes import LANES
from mailqueue.retry import Policies
from mailqueue.route import enqueues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.retry import RetryPolicy

__all__ = ["retry_schedule"]


@click.command("retry-schedule")
@click.option("--lane", "lanes", type=click.Choice(LANES), multiple=True, help="Only this lane. Repeatable.")
@click.option("--relay", "relays", metavar="ALIAS", multiple=True, help="Only this alias of MAILERS. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For programs; times are in s.")
def retry_schedule(lanes: Sequence[str], relays: Sequence[str], as_json: bool) -> None:
    """Print when messages are tried again that are refused for now, for each lane and relay.

    \b
    Examples:
      mailqueue retry-schedule
      mailqueue retry-schedule --lane urgent --json

    By MAILQUEUE_RETRY_DELAYS and MAILQUEUE_MAX_AGE, and what MAILQUEUE_LANES and MAILQUEUE_RELAYS have instead, a
    relay before a lane. Each wait is up to a tenth longer, so that a burst does not come back as a burst. Trouble
    with a relay costs its messages no attempt. Connects to nothing.
    """
    policies = Policies()
    found = [
        (lane, relay, policies.of(lane, "" if relay == "default" else relay))
        for lane, relay in itertools.product(lanes or LANES, relays or _relays())
    ]
    if as_json:
        rows = (
            {
                "lane": lane,
                "relay": relay,
                "retry_delays": list(policy.delays),
                "max_age": policy.max_age,
                "attempts": policy.attempts(),
            }
            for lane, relay, policy in found
        )
        click.echo(json.dumps(list(rows)))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("lane", "relay", "tried again after", "given up at", "tries"):
        table.add_column(name, overflow="fold")
    for lane, relay, policy in found:
        table.add_row(lane, relay, _waits(policy), span(policy.max_age), str(policy.attempts()))
    Console(highlight=False, markup=False).print(table)


def _relays() -> list[str]:
    """The aliases that deliver, and the default delivery backend, which the setting calls "default"."""
    sending = [
        alias
        for alias, entry in conf.get("MAILERS").items()
        if not enqueues(str(entry.get("BACKEND", conf.SMTP_BACKEND)))
    ]
    return list(dict.fromkeys(["default", *sending, *conf.get("MAILQUEUE_RELAYS")]))


def _waits(policy: RetryPolicy) -> str:
    *first, last = map(span, policy.delays)
    return ", ".join([*first, f"then every {last}"]) if first else f"every {last}"
