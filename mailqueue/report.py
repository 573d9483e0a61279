"""What became of a message, as its sender asks: the state, and a result for every recipient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from mailqueue.codec import decode
from mailqueue.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.bulkenvelope import AnyEnvelope
    from mailqueue.ledger.base import Entry
    from mailqueue.ledger.states import State
    from mailqueue.outcome import Verdict
    from mailqueue.smtp.reply import Reply

__all__ = ["MessageStatus", "RecipientStatus"]


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """Where one recipient stands: ``pending`` until the relay has said something about it, then its verdict."""

    verdict: Verdict | Literal["pending"]
    reply: Reply | None = None


_PENDING: Final = RecipientStatus("pending")


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """All that can be told of a message. Times are s since the epoch, by the store's clock.

    ``recipients`` are keyed as the caller wrote them, in the order to, cc, bcc; those that have no result yet are
    pending. ``metadata`` is what was given to ``enqueue()``, known until the envelope is dropped (when it is sent).
    """

    id: str
    state: State
    lane: str
    relay: str  # alias; "" is the default delivery backend
    attempts: int
    crashes: int
    unknowns: int  # how often its answer was lost
    accepted_at: float
    updated_at: float
    due_at: float | None  # when it is scheduled or deferred
    reason: str
    recipients: Mapping[str, RecipientStatus] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Entry) -> MessageStatus:
        """Return what the ledger's ``entry`` says, in its sender's words."""
        envelope = _open(entry)
        recipients = dict.fromkeys(envelope.recipients() if envelope else (), _PENDING)
        for recipient, result in entry.results.items():
            recipients[recipient] = RecipientStatus(result.verdict, result.reply)
        return cls(
            id=entry.id,
            state=entry.state,
            lane=entry.lane,
            relay=entry.relay,
            attempts=entry.attempts,
            crashes=entry.crashes,
            unknowns=entry.unknowns,
            accepted_at=entry.accepted_at,
            updated_at=entry.updated_at,
            due_at=entry.due_at,
            reason=entry.reason,
            recipients=recipients,
            metadata=envelope.labels if envelope else {},
        )


def _open(entry: Entry) -> AnyEnvelope | None:
    if entry.envelope is None:
        return None
    try:
        return decode(entry.envelope)
    except WireError:
        return None  # the message is held, or will be, with this for its reason
