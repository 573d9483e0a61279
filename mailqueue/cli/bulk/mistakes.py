"""Recipients that cannot be used, as they are told: the first of them with row and column, and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import click

from mailqueue.cli.bulk.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailqueue.errors import RecipientError

__all__ = ["refuse", "told"]

_SHOWN: Final = 20


def told(mistakes: Sequence[RecipientError], total: int | None = None) -> Iterator[str]:
    """A line for each of the first, and one for the rest.

    Args:
        mistakes: what is known one by one.
        total: how many there are in all, if not as many as these.
    """
    total = len(mistakes) if total is None else total
    for mistake in mistakes[:_SHOWN]:
        yield str(mistake)
    if total > _SHOWN:
        yield f"... and {counted(total - _SHOWN)} more that cannot be used, {total:,} in all"


def refuse(error: RecipientError) -> NoReturn:
    """Tell all of it on standard error, and that nothing was sent; exit status 1."""
    mistakes = error.errors or (error,)
    for line in told(mistakes):
        click.echo(f"mailqueue: {line}", err=True)
    if error.errors:
        click.echo(
            f"mailqueue: nothing was sent; mend {_them(len(mistakes))}, or leave out with --on-error skip", err=True
        )
    raise click.exceptions.Exit(1)


def _them(count: int) -> str:
    return "it" if count == 1 else f"these {count:,}"
