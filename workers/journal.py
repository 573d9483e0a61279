"""The journal: what became of the messages of one connection, until the ledger has it. Many share a call.

Nothing is noted before its reply was read; whoever keeps a journal writes it before anything further is begun.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mailqueue.errors import LedgerFault
from mailqueue.ledger.states import State
from workers.refusals import learn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.ledger.base import Settlement
    from workers.batch import Attempt, Batch
    from workers.process import Process

__all__ = ["FULL", "Journal"]

logger = logging.getLogger(__name__)

#: Settlements that wait for a call at most. One call for 64 costs the store a third of 64 calls, and a worker that dies
#: just before it has that many answers to be found lost.
FULL = 64

_QUIET = frozenset({State.SENT, State.SENDING})


class Journal:
    """Settlements of one batch. For one thread."""

    def __init__(self, process: Process, batch: Batch) -> None:
        self._process = process
        self._batch = batch
        self._noted: list[tuple[Attempt, Settlement]] = []

    def note(self, attempt: Attempt, settlement: Settlement) -> None:
        """This is what became of a message; written with the others, at the latest when there are FULL."""
        self._noted.append((attempt, settlement))
        if len(self._noted) >= FULL:
            self.write()

    def write(self) -> None:
        """Have the ledger record what was noted. Raises LedgerUnavailable only at the end of a shutdown."""
        if not self._noted:
            return
        noted, self._noted = self._noted, []
        try:
            self._write(noted)
        except LedgerFault:
            if len(noted) == 1:
                raise
            self._write_singly(noted)

    def _write_singly(self, noted: Sequence[tuple[Attempt, Settlement]]) -> None:
        """What the store cannot carry out for one of them costs the others nothing."""
        fault: LedgerFault | None = None
        for each in noted:
            try:
                self._write([each])
            except LedgerFault as error:
                fault = error
        if fault is not None:
            raise fault

    def _write(self, noted: Sequence[tuple[Attempt, Settlement]]) -> None:
        settlements = [settlement for _attempt, settlement in noted]
        answers = self._process.surely(self._process.ledger.record, settlements, self._batch.token)
        self._batch.ended(each.id for each in settlements if each.state is not State.SENDING)
        self._batch.unbegun(each.id for each in settlements if each.state is State.SENDING)
        everything = logger.isEnabledFor(logging.DEBUG)
        for (attempt, settlement), recorded in zip(noted, answers, strict=True):
            if everything or not recorded or settlement.state not in _QUIET:
                _tell(attempt, settlement, recorded=recorded)
        learn(self._process, self._batch.lane, (each for each, ours in zip(noted, answers, strict=True) if ours))


def _tell(attempt: Attempt, settlement: Settlement, *, recorded: bool) -> None:
    level = logging.DEBUG if settlement.state in _QUIET else logging.INFO
    logger.log(
        level if recorded else logging.WARNING,
        "action=%s message_id=%s attempt=%d relay=%s reason=%s",
        settlement.state if recorded else "fenced",
        attempt.id,
        attempt.grant.attempt,
        attempt.relay or "default",
        settlement.reason,
    )
