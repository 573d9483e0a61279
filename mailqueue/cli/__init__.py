"""The command ``mailqueue``: the group that its commands hang on, and how their errors are told.

Exit status: 0 done, 1 it failed (one line on stderr says why), 2 wrong usage, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

import mailqueue
from mailqueue.cli import control
from mailqueue.cli.bulk import bulk
from mailqueue.cli.check import check
from mailqueue.cli.demo import demo
from mailqueue.cli.dev import dev
from mailqueue.cli.inbox import inbox
from mailqueue.cli.listing import listing
from mailqueue.cli.rates import rates
from mailqueue.cli.relays import relays
from mailqueue.cli.schedule import retry_schedule
from mailqueue.cli.send import send
from mailqueue.cli.spool import spool
from mailqueue.cli.status import status
from mailqueue.cli.suppress import suppress
from mailqueue.cli.worker import worker
from mailqueue.errors import BrokerUnavailable, ImproperlyConfigured, LedgerUnavailable, MailQueueError
from mailqueue.testing.inbox import InboxUnavailable
from mailqueue.testing.store import StoreUnavailable

__all__ = ["main"]

_NO_STORE = (
    "is a store running? MAILQUEUE_BROKER_URL says where to look (default: redis://localhost:6379/0); "
    "`mailqueue dev` starts one for development, with a worker and an inbox"
)


class _Commands(click.Group):
    """A group whose commands end with one line, not with a traceback, on whatever can be expected to go wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImproperlyConfigured as error:
            _fail(*error.problems)
        except (BrokerUnavailable, LedgerUnavailable) as error:
            _fail(str(error), _NO_STORE)
        except (MailQueueError, StoreUnavailable, InboxUnavailable) as error:
            _fail(str(error))
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(130)


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        click.echo(f"mailqueue: {line}", err=True)
    sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(mailqueue.__version__, "--version", prog_name="mailqueue")
def main() -> None:
    """Mail that is queued, delivered by workers, and accounted for.

    \b
    Try it (pip install 'mailqueue[embedded]'):
      mailqueue demo                        sends real mail through a real worker, and checks all of it
      mailqueue dev                         a store, a worker and an inbox for development
      echo Hello | mailqueue send --to you@example.com --subject Hi
      mailqueue status

    \b
    In production:
      mailqueue check && mailqueue worker

    Settings come from the environment (MAILQUEUE_*, EMAIL_*) or from Django's settings; docs/settings.md has them all.

    Exit status: 0 done, 1 it failed (stderr says why), 2 wrong usage, 130 ended by Ctrl-C.
    """


for command in (
    demo,
    dev,
    send,
    status,
    listing,
    *control.COMMANDS,
    rates,
    relays,
    bulk,
    suppress,
    spool,
    retry_schedule,
    worker,
    inbox,
    check,
):
    main.add_command(command)
