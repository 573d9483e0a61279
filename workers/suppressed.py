"""Bulk mail that goes to suppressed addresses: looked up when it is sent, for whoever left a list after it was enqueued.

Campaigns' mail is looked up on the list that it is for, other mail of the bulk lane on that of all bulk mail. What is
in the urgent lane is no bulk mail, whatever made it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from mailqueue.bulk.address import normalise
from mailqueue.errors import RecipientError
from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply
from workers.batch import outstanding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mailqueue.ledger.base import Grant, Ledger

__all__ = ["Asked", "withheld"]

_REFUSED: Final = 550


class Asked(NamedTuple):
    """A message that is to be looked up: all of its recipients, as the caller wrote them, and the list that it is for."""

    grant: Grant
    recipients: Sequence[str]
    list: str = ""


def withheld(ledger: Ledger, messages: Iterable[Asked]) -> Mapping[str, Grant | Settlement]:
    """What becomes of those messages that have suppressed recipients, by their ids; one call for each list.

    One that is left with nobody is settled. Another goes on, under a grant in which those who are suppressed are refused.

    Raises LedgerUnavailable.
    """
    by_list: dict[str, list[tuple[Asked, dict[str, str]]]] = {}
    for each in messages:
        by_list.setdefault(each.list, []).append((each, _keys(each)))
    answers: dict[str, Grant | Settlement] = {}
    for name, asked in by_list.items():
        found = ledger.suppressions.find([*{key for _, keys in asked for key in keys.values()}], list=name)
        if not found:  # nearly always
            continue
        for each, keys in asked:
            reasons = {recipient: found[key].reason for recipient, key in keys.items() if key in found}
            if reasons:
                answers[each.grant.id] = _answer(each, reasons)
    return answers


def _keys(asked: Asked) -> dict[str, str]:
    """The normal forms of those to whom it is still to go."""
    keys = {}
    for recipient in outstanding(asked.recipients, asked.grant.results):
        try:
            keys[recipient] = normalise(recipient)
        except RecipientError:
            continue  # whatever the backend makes of it, nobody is suppressed under this name
    return keys


def _answer(asked: Asked, reasons: Mapping[str, str]) -> Grant | Settlement:
    grant = asked.grant
    results = dict(grant.results)
    for recipient, reason in reasons.items():
        results[recipient] = Result(Verdict.REFUSED, Reply(_REFUSED, f"5.7.1 suppressed: {reason}"))
    if outstanding(asked.recipients, results):
        return replace(grant, results=results)
    why = f"suppressed: {next(iter(reasons.values()))}"
    if any(result.verdict is Verdict.ACCEPTED for result in results.values()):
        return Settlement(grant.id, State.PARTIAL, results, reason=why)
    return Settlement(grant.id, State.CANCELLED, grant.results, reason=why)
