"""Recipients that cannot be used, as they are told: the first of them with row and column, and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import click

from mailqueue.errors import RecipientError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


__all__ = ["refuse", "told"]

_SHOWN: Final = 20


def told(mistakes: Sequence[RecipientError | TemplateError], total: int | None = None) -> Iterator[str]:
    """A line for each of the first, and one for the rest.

    Args:
        mistakes: what is known one by one.
        total: how many there are in all, if not as many as these.
    """
    total = len(mistakes) if total is None else total
    for mistake in mistakes[:_SHOWN]:
        yield str(mistake)
    if total > _SHOWN:
        yield f"... and {total - _SHOWN:,} more"


def refuse(error: RecipientError | TemplateError, total: int = 0) -> NoReturn:
    """Tell all of it on standard error, and that nothing was sent; exit status 1.

    ``total`` is how many recipients cannot be used, if more than ``error`` knows of.
    """
    mistakes = error.errors or (error,)
    total = max(total, len(mistakes))
    if total == 1:
        click.echo(f"mailqueue: {mistakes[0]}", err=True)
    else:
        what = "recipients that cannot be used" if isinstance(error, RecipientError) else "mistakes in the template"
        click.echo(f"mailqueue: {total:,} {what}:", err=True)
        for line in told(mistakes, total):
            click.echo(f"  {line}", err=True)
    if isinstance(error, RecipientError) and error.errors:
        click.echo("Nothing was sent. To leave such recipients out: --on-error skip", err=True)
    raise click.exceptions.Exit(1)
