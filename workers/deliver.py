"""Delivers a claimed batch: relay by relay over the long-lived connections, each outcome recorded as it is known.

Leaves claiming to ``supply``, each connection to a ``line``, and the conversation with the relay to the backend.
"""

from __future__ import annotations

import functools
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable, RelayTrouble
from workers.conclusion import Conclusion
from workers.errand import Errand
from workers.evidence import Tally
from workers.journal import Journal
from workers.line import Line
from workers.lines import Lines
from workers.lookout import LOOK_EVERY
from workers.portions import Portions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.batch import Attempt, Batch
    from workers.lookout import Lookout
    from workers.process import Process

__all__ = ["LATER", "Delivery", "where"]

logger = logging.getLogger(__name__)

LATER = 60.0  # s, for what a deploy may mend: a relay that this worker cannot build, a bug


def where(error: Exception) -> str:
    """What a bug is and where it came up, on one line. Its text may repeat an address, and is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    return " ".join([type(error).__name__, *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)])


class Delivery:
    """One run, or several, over the attempts of a batch. What it has not begun when it must stop is given back at no charge."""

    def __init__(self, process: Process, batch: Batch, lookout: Lookout) -> None:
        self._process = process
        self._batch = batch
        self._conclusion = Conclusion(process, batch.lane)
        self._lookout = lookout
        self._stopped = False
        self._tallies: dict[str, Tally] = {}

    def run(self, attempts: Sequence[Attempt], more: Callable[[], Sequence[Attempt]] = list) -> None:
        """Deliver ``attempts``, and what ``more`` gives when they are used up; returns when each is recorded or given back.

        There is no more for a relay that has limits, or while mail for another one waits.
        """
        relays = self._by_relay(attempts)
        del attempts  # what has been sent of them is not needed until all are

        def further(relay: str) -> Sequence[Attempt]:
            if not relays and not self._process.pace.is_limited(relay):
                relays.update(self._by_relay(more()))
            return relays.pop(relay, ())

        while relays:
            relay = next(iter(relays))
            errand = Errand(relay, relays.pop(relay), self._tallies.setdefault(relay, Tally()), self.must_stop)
            wait = self._process.surely(self._process.relays.wait, relay)
            if wait > 0:
                self._give_back(errand, wait, "the relay is in trouble")
            elif not self._stopped:
                self._deliver_all(errand, functools.partial(further, relay))
            self._process.relays.leave(relay)
            self._give_back(errand, 0.0, "")

    def _by_relay(self, attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
        """The attempts by their relays; those that need none any more are settled."""
        relays: dict[str, list[Attempt]] = {}
        served = Journal(self._process, self._batch)
        for attempt in attempts:
            if (attempt.recipients and not attempt.results) or attempt.message.recipients():
                relays.setdefault(attempt.relay, []).append(attempt)
            else:  # a late answer of an earlier attempt has served them all meanwhile
                served.note(attempt, self._conclusion.answered(attempt))
        served.write()
        return relays

    # -- one relay

    def _deliver_all(self, errand: Errand, further: Callable[[], Sequence[Attempt]]) -> None:
        """Deliver what the errand has, unless the relay is in trouble."""
        relay = errand.relay
        try:
            if self._process.pace.is_limited(relay):
                Portions(self._process, self._batch, errand, lambda alone: self._send(errand, alone=alone)).work()
            else:
                self._send(errand, further)
        except RelayTrouble as trouble:
            wait = self._process.surely(self._process.relays.troubled, relay, trouble, errand.tally.over or "")
            self._give_back(errand, wait, f"relay trouble at {trouble.stage}")
        except ImproperlyConfigured as error:
            logger.error("action=relay_misconfigured relay=%s reason=%s", relay or "default", error)  # noqa: TRY400 - no traceback wanted
            self._give_back(errand, LATER, "this worker's settings cannot build the relay's backend")
        except LedgerUnavailable:
            raise  # only at the end of a shutdown: nothing more can be recorded
        except Exception as error:  # the boundary of a task: a bug, ours or a backend's, costs no message its record
            logger.error("action=delivery_failed relay=%s reason=%s", relay or "default", where(error))  # noqa: TRY400 - as where says
            logger.debug("action=delivery_failed relay=%s", relay or "default", exc_info=True)
            self._give_back(errand, LATER, type(error).__name__)

    def _send(
        self, errand: Errand, further: Callable[[], Sequence[Attempt]] | None = None, *, alone: bool = False
    ) -> None:
        """Send what the errand has, over as many connections as the relay takes, or over one.

        ``further`` is for a relay that has one, and for errands that are no lone message: that waits for nobody.
        """
        relay = errand.relay
        probed = self._process.relays.is_probed(relay)
        lines = 1 if alone or probed else self._process.connections.at_once(relay)
        if probed or lines > 1 or len(errand) <= 1:
            further = None
        if lines > 1 and len(errand) > 1:
            Lines(self._process, self._batch, errand).work(min(lines, len(errand)), LOOK_EVERY)
        Line(self._process, self._batch, errand, further=further).work()

    def _give_back(self, errand: Errand, due_in: float, reason: str) -> None:
        """Release what was not begun; relay trouble costs a message nothing but, in the end, its maximum age."""
        attempts = [attempt for attempt in errand.take_all() if self._batch.holds(attempt.id)]
        aged = [attempt for attempt in attempts if due_in and self._conclusion.is_aged(attempt)]
        journal = Journal(self._process, self._batch)
        for attempt in aged:
            journal.note(attempt, self._conclusion.aged(attempt))
        journal.write()
        ids = [attempt.id for attempt in attempts if attempt not in aged]
        if ids:
            self._process.surely(self._process.ledger.release, ids, self._batch.token, due_in=due_in, reason=reason)
        self._batch.ended(ids)

    # -- reasons to stop

    def must_stop(self) -> bool:
        """A shutdown, or mail in a higher lane that this worker carries as well. It stays so."""
        if not self._stopped:
            self._stopped = self._process.stopping or self._lookout.sees_mail()
        return self._stopped
