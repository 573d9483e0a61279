"""How a campaign stands, and each of its recipients, as its sender asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.ledger.campaigns import CampaignState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.ledger.campaigns import CampaignEntry

__all__ = ["COUNTED", "ENDED", "CampaignStatus", "RecipientRow"]

#: The states in which recipients are counted: first those to whom something may still happen, then the ends.
COUNTED: Final = (
    "waiting",  # in a chunk, not yet a message
    "parked",  # a message set aside while the campaign is paused, or for quiet hours
    "scheduled",
    "queued",
    "sending",
    "deferred",
    "unknown",
    "held",
    "sent",
    "partial",
    "failed",
    "suppressed",
    "expired",
    "cancelled",
)
#: Those that are ends; ``unknown`` and ``held`` wait for somebody's decision.
_FINAL: Final = frozenset({"sent", "partial", "failed", "suppressed", "expired", "cancelled"})
_DECIDED_BY_HAND: Final = frozenset({"unknown", "held"})

#: The states of a campaign in which nothing more happens by itself.
ENDED: Final = frozenset({CampaignState.FINISHED, CampaignState.CANCELLED, CampaignState.EXPIRED})


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """How a campaign stands. Times are s since the epoch, by the store's clock; None where there is none yet.

    ``counts`` has a number of recipients for each word of ``COUNTED``; together they are ``total``.
    """

    id: str
    state: CampaignState
    lane: str
    total: int
    counts: Mapping[str, int] = field(default_factory=dict)
    created_at: float = 0.0
    start_at: float | None = None  # when it was told to start, if that was later than at once
    started_at: float | None = None  # when its first recipients were fed
    ended_at: float | None = None
    expires_at: float | None = None
    open_until: float | None = None  # its next quiet hours begin then; a moment that has passed: it is quiet now
    now: float = 0.0  # the time of this answer

    @classmethod
    def of(cls, entry: CampaignEntry) -> CampaignStatus:
        """What the ledger's ``entry`` says, in its sender's words."""
        counts = dict.fromkeys(COUNTED, 0) | {str(state): number for state, number in entry.counts.items()}
        counts["parked"] = min(entry.parked, counts["held"])
        counts["held"] -= counts["parked"]
        return cls(
            id=entry.id,
            state=entry.state,
            lane=entry.lane,
            total=entry.total,
            counts=counts,
            created_at=entry.created_at,
            start_at=entry.start_at or None,
            started_at=entry.started_at or None,
            ended_at=entry.ended_at or None,
            expires_at=entry.expires_at or None,
            open_until=entry.open_until or None,
            now=entry.now,
        )

    @property
    def done(self) -> float:
        """The part of its recipients, from 0 to 1, to whom nothing more happens by itself."""
        if not self.total:
            return 1.0 if self.state in ENDED else 0.0
        return sum(self.counts.get(word, 0) for word in _FINAL | _DECIDED_BY_HAND) / self.total

    @property
    def ended(self) -> bool:
        """Whether it is finished, cancelled or expired. Of one withdrawn, what was under way may still come to its end."""
        return self.state in ENDED

    @property
    def quiet(self) -> bool:
        """Whether it rests for its quiet hours just now."""
        return self.state is CampaignState.RUNNING and self.open_until is not None and self.open_until <= self.now


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """What became of one recipient: a word of ``COUNTED`` but "parked", and the relay's reply or the reason, shortened."""

    address: str
    state: str
    reply: str = ""
