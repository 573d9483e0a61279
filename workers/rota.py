"""The rota: a thread of every worker's main process that starts the campaigns that recur, when they are due.

There is no leader: what is due is taken under a lease. The id of a campaign follows from the moment, so that whoever
takes over goes on where the first one died.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from mailqueue.bulk.recurring import read_plan, start
from mailqueue.errors import (
    BrokerUnavailable,
    IllegalTransition,
    ImproperlyConfigured,
    InvalidMessage,
    LedgerUnavailable,
    WireError,
)
from workers.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.bulk.recurring import Plan
    from mailqueue.ledger.base import Ledger
    from mailqueue.ledger.schedules import ScheduleEntry

__all__ = ["Rota"]

logger = logging.getLogger(__name__)

_LOOK: Final = 1.0  # s between two looks at what is due
#: s after which what could not be started is tried again: a database that was away, a file that was being written.
_AGAIN: Final = 60.0


class Rota(Rounds):
    """Starts what is due in the ledger's schedules.

    Args:
        ledger: Has the schedules.
        worker: This worker's name.
        clock: Monotonic, in s.
    """

    def __init__(self, ledger: Ledger, worker: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("rota", idle=_LOOK, busy=_LOOK / 10)
        self._ledger = ledger
        self._worker = worker
        self._clock = clock
        self._later: dict[
            str, float
        ] = {}  # schedules that could not be started here, and until when they are left alone

    def once(self) -> int:
        """Start what is due, if something is; returns the number of campaigns started."""
        now = self._clock()
        self._later = {name: until for name, until in self._later.items() if now < until}
        entry = self._take()
        if entry is None:
            return 0
        try:
            plan = read_plan(entry.spec)
        except WireError as error:  # of a later release: its workers start it
            logger.error("action=schedule_unreadable schedule=%s reason=%s", entry.name, error)  # noqa: TRY400 - no traceback wanted
            self._later[entry.name] = self._clock() + _AGAIN
            return 0
        moment, following = plan.turn(entry)
        if moment is None:
            logger.warning("action=schedule_missed schedule=%s seconds=%.0f", entry.name, entry.now - entry.due_at)
        elif not self._start(entry, plan, moment):
            return 0
        self._ledger.schedules.move(entry.name, entry.due_at, following)
        return int(moment is not None)

    def _start(self, entry: ScheduleEntry, plan: Plan, moment: float) -> bool:
        """Start it; False if that is to be tried again."""
        try:
            campaign = start(entry.name, plan, moment, progress=lambda _loaded: self._keep(entry))
        except (LedgerUnavailable, BrokerUnavailable):
            raise
        except (InvalidMessage, IllegalTransition, ImproperlyConfigured) as error:
            # To try again would end the same: what is wrong with it is to be mended for the next time.
            logger.error("action=schedule_failed schedule=%s reason=%s", entry.name, _told(error))  # noqa: TRY400 - no traceback wanted
            return True
        except Exception:
            # The application's own function, say: its database may be back in a minute.
            logger.exception("action=schedule_failed schedule=%s again_in=%.0f", entry.name, _AGAIN)
            self._later[entry.name] = self._clock() + _AGAIN
            return False
        logger.info(
            "action=schedule_started schedule=%s campaign=%s recipients=%d", entry.name, campaign.id, campaign.added
        )
        return True

    def _take(self) -> ScheduleEntry | None:
        """What is due; not what has just failed, which keeps no other schedule from its time."""
        return self._ledger.schedules.take(self._worker, without=list(self._later))

    def _keep(self, entry: ScheduleEntry) -> None:
        """Loading takes its time: keep the lease. Lost, it does no harm, for two who load the same load it once."""
        taken = self._take()
        if taken is not None and taken.name != entry.name:
            logger.warning("action=schedule_lost schedule=%s", entry.name)


def _told(error: Exception) -> str:
    """What is wrong, without a recipient's address."""
    row = getattr(error, "row", 0)
    return f"row {row} of the recipients cannot be used" if row else str(error)
