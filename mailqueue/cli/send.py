"""``mailqueue send``: enqueue the user's own message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailqueue.cli import devstate
from mailqueue.cli.times import WHEN, moment
from mailqueue.errors import MailQueueError
from mailqueue.lanes import LANES
from mailqueue.mail import EmailMultiAlternatives
from mailqueue.producer import enqueue

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = ["send"]

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def _headers(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{value!r} is no header; write it as 'Name: value'")
        found[name.strip()] = text.strip()
    return found


@click.command(short_help="Enqueue a message of your own.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient; repeatable, as are --cc, --bcc, --reply-to.")
@click.option("--cc", multiple=True, metavar="ADDRESS")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Gets the message; no header shows it.")
@click.option("--from", "sender", metavar="ADDRESS", help="Sender. Default: the setting DEFAULT_FROM_EMAIL.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS")
@click.option("--header", "headers", multiple=True, callback=_headers, metavar="'NAME: VALUE'", help="Repeatable.")
@click.option("--subject", required=True)
@click.option("--html", type=_FILE, help="An HTML file, sent as an alternative to the text.")
@click.option("--attach", type=_FILE, multiple=True, help="A file to attach; repeatable.")
@click.option("--lane", type=click.Choice(LANES), help="Default: the lane of --using, else `default`.")
@click.option("--using", metavar="ALIAS", help="The entry of MAILERS to send through.")
@click.option("--send-at", type=WHEN, help="Not to be sent before: a moment with its zone, or a duration from now.")
@click.option("--expires-at", type=WHEN, help="Not to be sent from then on; a duration counts from --send-at, or now.")
@click.option("--key", help="Your own name for it: under a key that was used, nothing is sent a second time.")
@click.option(
    "--on-unknown",
    type=click.Choice(("resend", "hold")),
    help="If its answer is lost. Default: the setting MAILQUEUE_ON_UNKNOWN.",
)
def send(
    to: tuple[str, ...],
    cc: tuple[str, ...],
    bcc: tuple[str, ...],
    sender: str | None,
    reply_to: tuple[str, ...],
    headers: dict[str, str],
    subject: str,
    html: Path | None,
    attach: tuple[Path, ...],
    lane: str | None,
    using: str | None,
    send_at: datetime | timedelta | None,
    expires_at: datetime | timedelta | None,
    key: str | None,
    on_unknown: str | None,
) -> None:
    """Enqueue a message whose text comes from standard input; prints its id once it is durably accepted.

    \b
    Examples:
      mailqueue send --to ann@example.com --subject Hello < body.txt
      mailqueue send --to 'Ann <ann@example.com>' --bcc archive@example.com --subject Report \\
          --html report.html --attach report.pdf < report.txt
      mailqueue send --to ann@example.com --subject Reminder --send-at 2026-12-24T18:00+01:00 \\
          --expires-at 6h --key reminder-7 < text.txt
      mailqueue status $(echo Hi | mailqueue send --to ann@example.com --subject Hi)

    A duration is 30min, 2h or 1 d 12 h. With a --key that was used before, the id is that of the first message.

    Wants a store (MAILQUEUE_BROKER_URL) or a running `mailqueue dev`. Exit status 1 if the message is refused or
    the store is not there, 2 for wrong usage.
    """
    if not (to or cc or bcc):
        raise click.UsageError("no recipient: give --to, --cc or --bcc")
    devstate.use_if_unset()
    message = EmailMultiAlternatives(
        subject,
        _body(),
        sender,
        list(to),
        list(bcc),
        headers=headers,
        cc=list(cc),
        reply_to=list(reply_to),
    )
    if html is not None:
        message.attach_alternative(_text(html.read_bytes(), str(html)), "text/html")
    for file in attach:
        message.attach_file(file)
    try:
        receipt = enqueue(
            message,
            using=using,
            lane=lane,
            send_at=moment(send_at),
            expires_at=expires_at,
            idempotency_key=key,
            on_unknown=on_unknown,
        )
    except MailQueueError:
        raise
    except (ValueError, TypeError) as error:  # what Django raises for an address or content that is none
        raise click.ClickException(str(error)) from None
    click.echo(receipt.id)


def _body() -> str:
    if sys.stdin.isatty():
        click.echo("The text of the message, ended by Ctrl-D:", err=True)
    return _text(sys.stdin.buffer.read(), "the text on standard input")


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"{what} is not UTF-8 (octet {error.start}); attach other files with --attach"
        ) from None
