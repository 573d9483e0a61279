"""What is learned of refusals that were recorded: addresses that bulk mail is not to be sent to any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mailqueue.bulk.refusals import after_refusal
from mailqueue.errors import LedgerFault
from mailqueue.ledger.campaigns import campaign_of
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailqueue.ledger.base import Settlement
    from mailqueue.outcome import Result
    from workers.batch import Attempt
    from workers.process import Process

__all__ = ["learn"]

logger = logging.getLogger(__name__)

_REFUSED = frozenset({State.FAILED, State.PARTIAL})


def learn(process: Process, lane: str, recorded: Iterable[tuple[Attempt, Settlement]]) -> None:
    """Put on the suppression list who was refused for good in bulk mail. Raises LedgerUnavailable only at a shutdown.

    Bulk mail is what a campaign sends, and what is in the bulk lane. The urgent lane teaches nothing.
    """
    if lane == "urgent":
        return
    refused: dict[str, tuple[dict[str, Result], dict[str, str]]] = {}
    for attempt, settlement in recorded:
        if settlement.state in _REFUSED and (campaign := campaign_of(attempt.id) or (lane == "bulk" and attempt.id)):
            results, stages = refused.setdefault(campaign, ({}, {}))
            results.update(settlement.results)
            stages.update(dict.fromkeys(attempt.answered, attempt.stage))
    for campaign, (results, stages) in refused.items():
        try:
            new = process.surely(after_refusal, process.ledger, campaign, results, stages=stages)
        except LedgerFault as error:  # the results are recorded: they must not wait for what is not vital
            logger.error("action=suppress_failed reason=%s", error)  # noqa: TRY400 - the store's trouble, not ours
        else:
            if new:
                logger.info("action=suppressed_refused campaign=%s addresses=%d", campaign, new)
