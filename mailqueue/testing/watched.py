"""The in-memory ledger as a test wants it: keeps the receipts of what it accepts, and can be out of reach."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mailqueue.codec import decode
from mailqueue.errors import LedgerUnavailable
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.producer import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailqueue.ledger.base import Acceptance, Submission

__all__ = ["WatchedLedger"]


class WatchedLedger(MemoryLedger):
    """``receipts`` are of the messages accepted, in order; while it is ``away`` no call is answered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.receipts: list[Receipt] = []
        self.away = False

    def accept(self, lane: str, submissions: Sequence[Submission], **options: Any) -> Acceptance:
        """As the port's, and the receipts are kept."""
        acceptance = super().accept(lane, submissions, **options)
        encoded = {submission.id: submission.envelope for submission in submissions}
        self.receipts += [
            Receipt(one.id, decode(encoded[one.id]).message_id, one.state, one.accepted_at)
            for one in acceptance.accepted
            if one.new and not options.get("restored")
        ]
        return acceptance

    def ping(self) -> None:
        """As the port's."""
        with self._call():
            pass

    @contextlib.contextmanager
    def _call(self) -> Iterator[int]:
        if self.away:
            raise LedgerUnavailable("the ledger is away: the test wants it so")
        with super()._call() as now:
            yield now
