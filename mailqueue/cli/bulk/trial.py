"""The dry run of ``mailqueue bulk send``: everything is checked and the first message shown; nothing is stored or sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailqueue import bulk
from mailqueue.cli.arrivals import visible
from mailqueue.cli.bulk.mistakes import refuse, told
from mailqueue.cli.bulk.plan import Plan, expected
from mailqueue.cli.bulk.watch import Loading
from mailqueue.cli.bulk.words import counted
from mailqueue.errors import RecipientError

if TYPE_CHECKING:
    from pathlib import Path

    from mailqueue.mail.message import EmailMessage

__all__ = ["check"]


def check(plan: Plan, recipients: Path) -> None:
    """Try every recipient, and show what the first one would get; exit status 1 if one cannot be used."""
    screen = Loading(expected(recipients))
    options = {name: value for name, value in plan.options.items() if name not in ("campaign", "seeds")}
    try:
        with screen:
            trial = bulk.send(plan.file, str(recipients), dry_run=True, progress=screen, **options)
    except RecipientError as error:
        refuse(error, screen.skipped)
    if trial.first is not None:
        click.echo(_shown(trial.first))
    words = [f"{counted(trial.added)} can be sent to"]
    if trial.skipped:
        words.append(f"{trial.skipped:,} would be skipped")
    click.echo(f"{', '.join(words)}; nothing was stored or sent", err=True)
    for line in told(trial.mistakes, trial.skipped):
        click.echo(f"  {line}", err=True)


def _shown(message: EmailMessage) -> str:
    """The message as a person reads it: its headers, its text, and what else there is in it."""
    lines = [f"{name}: {value}" for name, value in message.message().items() if name.lower() not in _OF_THE_FORM]
    lines += ["", str(message.body).rstrip("\n"), ""]
    for part in getattr(message, "alternatives", None) or ():
        lines += [f"[{part[1]}, {len(part[0]):,} characters]"]
    for attachment in message.attachments:
        name, content = getattr(attachment, "filename", None), getattr(attachment, "content", b"")
        size = f", {len(content):,} octets" if content else ""
        lines += [f"[attached: {name or 'unnamed'}{size}]"]
    return "\n".join("".join(map(visible, line)) for line in lines)


_OF_THE_FORM = frozenset({"mime-version", "content-type", "content-transfer-encoding"})
