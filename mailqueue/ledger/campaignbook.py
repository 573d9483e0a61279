"""The campaigns of the in-memory ledger, and what a move of one of their messages means to them.

The twin of ``lua/campaign.lua``. Leaves the port's operations to ``memory_campaigns``. Times are milliseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailqueue.ledger import rules
from mailqueue.ledger.campaigns import FINAL_LETTERS, CampaignState, campaign_of
from mailqueue.ledger.states import FINAL, State

if TYPE_CHECKING:
    from mailqueue.ledger.book import Record

__all__ = ["WAITING", "Campaign", "CampaignBook", "digest_of"]

#: What the index says of a recipient who waits in a chunk, or is a message under way.
WAITING: Final = "w"
_STATES: Final = FINAL_LETTERS
_LETTERS: Final = {state: letter for letter, state in FINAL_LETTERS.items()}
_UNDER_WAY: Final = (State.QUEUED, State.SCHEDULED, State.SENDING, State.DEFERRED)


def digest_of(message_id: str) -> str:
    """The digest in the id of a campaign's message."""
    return message_id.rpartition("~")[2]


@dataclass(slots=True, eq=False)
class Campaign:
    """One campaign. ``index`` has for each digest ``w``, or the final record: a letter and the reply."""

    id: str
    spec: bytes
    lane: str
    blobs: tuple[str, ...]
    created: int
    width: int
    start_at: int = 0
    expires_at: int = 0
    open_until: int = 0
    state: CampaignState = CampaignState.LOADING
    started: int = 0
    ended: int = 0
    total: int = 0
    chunks: int = 0
    swept: int = 0  # names of its keys that the sweep has gone through
    contents: dict[int, bytes] = field(default_factory=dict)
    queues: dict[str, list[int]] = field(default_factory=dict)  # those that are not empty
    leases: dict[str, tuple[str, int]] = field(default_factory=dict)  # queue -> owner, until
    index: dict[str, str] = field(default_factory=dict)
    tallies: Counter[str] = field(default_factory=Counter)  # messages by state, and "suppressed"
    retried: int = 0  # of the deferred, those that were tried

    @property
    def parked(self) -> str:
        """The name of the index of its parked messages."""
        return f"c:{self.id}:parked"

    @property
    def waiting(self) -> int:
        """Recipients that are no messages yet."""
        return self.total - sum(self.tallies.values())

    @property
    def under_way(self) -> int:
        """Messages that will come to an end by themselves."""
        return sum(self.tallies[state] for state in _UNDER_WAY)

    def is_late(self, now: int) -> bool:
        """Whether its expires_at has come."""
        return 0 < self.expires_at <= now

    def stop(self, now: int) -> State | None:
        """What becomes of a message of it that is about to go out; None if it may."""
        if self.state is CampaignState.CANCELLED:
            return State.CANCELLED
        if self.state is CampaignState.FINISHED:
            return None  # an operator has let it go
        if self.state is CampaignState.EXPIRED or self.is_late(now):
            return State.EXPIRED
        closed = 0 < self.open_until <= now
        return State.HELD if closed or self.state is not CampaignState.RUNNING else None

    def push(self, queue: str, content: bytes) -> int:
        """One chunk more, at the end of ``queue``; its number."""
        self.chunks += 1
        self.contents[self.chunks] = content
        self.queues.setdefault(queue, []).append(self.chunks)
        return self.chunks

    def final(self, digest: str) -> tuple[str, str] | None:
        """How a recipient has ended, a state or "suppressed", and the reply; None if it has not."""
        value = self.index.get(digest, WAITING)
        return None if value == WAITING else (_STATES[value[0]], value[1:])

    def end(self, digest: str, name: str, reply: str) -> None:
        """The final record of a recipient, which a message, or nothing, leaves behind."""
        self.index[digest] = _LETTERS[name] + rules.short(reply, rules.KEPT_OCTETS)


class CampaignBook:
    """All campaigns, by id."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self.live: set[str] = set()
        self.ended: dict[str, int] = {}

    def of(self, record: Record) -> Campaign | None:
        """The campaign that counts this message as its own; None for others, and if the store has lost it."""
        campaign = self.campaigns.get(campaign_of(record.id)) if record.member else None
        return campaign if campaign and campaign.created == record.member else None

    def final(self, message_id: str) -> tuple[State, str, Campaign] | None:
        """How a campaign's message ended whose own record is gone, and the reply that was kept."""
        name = campaign_of(message_id)
        campaign = self.campaigns.get(name) if name else None
        found = campaign.final(digest_of(message_id)) if campaign else None
        if campaign is None or found is None:
            return None
        return State.CANCELLED if found[0] == rules.SUPPRESSED else State(found[0]), found[1], campaign

    def moved(self, campaign: Campaign, record: Record, new: State) -> None:
        """Its message moves from its state to ``new``, for the reason that it has."""
        name = rules.SUPPRESSED if new is State.CANCELLED and record.reason.startswith(rules.SUPPRESSED) else str(new)
        campaign.tallies[str(record.state)] -= 1
        campaign.tallies[name] += 1
        self._count_retried(campaign, record, new)
        if new in FINAL:
            campaign.end(digest_of(record.id), name, record.reason)

    def adopt(self, record: Record, campaign: Campaign) -> None:
        """A message that was restored when its campaign was lost, and that is a recipient's of it now."""
        campaign.tallies[str(record.state)] += 1
        self._count_retried(campaign, record, record.state)
        if record.state in FINAL:
            campaign.end(digest_of(record.id), str(record.state), record.reason)
        else:
            record.member = campaign.created

    def _count_retried(self, campaign: Campaign, record: Record, state: State) -> None:
        """Count a message that was refused for now, and waits for its next attempt: its turn has been."""
        campaign.retried -= record.retried
        record.retried = state is State.DEFERRED and record.attempts > 0
        campaign.retried += record.retried
