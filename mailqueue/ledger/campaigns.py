"""The port of the campaigns: what bulk mail asks of the ledger, beside its messages.

A campaign holds its recipients in chunks until they are fed: a chunk's recipients then become messages, under ids made
of campaign and digest, and leave a short final record here. Every operation is atomic and safe to repeat, goes by the
store's clock (s since the epoch), and may raise LedgerUnavailable, after which it may have taken effect.
"""

from __future__ import annotations

import abc
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailqueue.errors import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


__all__ = [
    "CAMPAIGN_TRANSITIONS",
    "FINAL_LETTERS",
    "Addition",
    "CampaignEntry",
    "CampaignState",
    "Campaigns",
    "Chunk",
    "Creation",
    "RecipientEntry",
    "campaign_of",
    "distinct",
    "illegal",
    "message_of",
    "width_for",
]

_MARK: Final = "~"
_IN_A_HASH: Final = 250  # recipients, at most, in the mean


def message_of(campaign: str, digest: str) -> str:
    """The id under which the recipient with ``digest`` is a message of the ledger."""
    return f"{campaign}{_MARK}{digest}"


def campaign_of(message_id: str) -> str:
    """The campaign whose message this is; empty for a message of its own."""
    return message_id.rpartition(_MARK)[0]


def width_for(recipients: int) -> int:
    """How much the index of a campaign is to be divided: 0 to 3. ``recipients`` is 0 if nobody knows how many.

    A hash of more than 512 recipients is no listpack any more, and one of less than four costs more than what is in it.
    """
    if recipients <= 0:
        return 2  # from sixteen thousand to a million
    return next((width for width in (0, 1, 2) if recipients <= _IN_A_HASH * 64**width), 3)


class CampaignState(enum.StrEnum):
    """Where a campaign stands. The last three are ends; ``finished`` can be taken up again for its failed recipients."""

    LOADING = "loading"  # recipients are being added; nothing is sent
    SCHEDULED = "scheduled"  # complete, its start is to come
    RUNNING = "running"
    PAUSED = "paused"  # nothing goes out until it is resumed
    FINISHED = "finished"  # every recipient has come to an end
    CANCELLED = "cancelled"  # withdrawn: whoever had not got it does not get it
    EXPIRED = "expired"  # its expires_at came first


CAMPAIGN_TRANSITIONS: Final[Mapping[CampaignState, frozenset[CampaignState]]] = {
    CampaignState.LOADING: frozenset({CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.CANCELLED}),
    CampaignState.SCHEDULED: frozenset(
        {CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.CANCELLED, CampaignState.EXPIRED}
    ),
    CampaignState.RUNNING: frozenset(
        {CampaignState.PAUSED, CampaignState.FINISHED, CampaignState.CANCELLED, CampaignState.EXPIRED}
    ),
    CampaignState.PAUSED: frozenset(
        {CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.CANCELLED, CampaignState.EXPIRED}
    ),
    CampaignState.FINISHED: frozenset({CampaignState.RUNNING}),
    CampaignState.CANCELLED: frozenset(),
    CampaignState.EXPIRED: frozenset(),
}


#: What a final record begins with. A partial one, which a message to one recipient cannot be, has its own all the same.
FINAL_LETTERS: Final[Mapping[str, str]] = {
    "s": "sent",
    "f": "failed",
    "e": "expired",
    "c": "cancelled",
    "x": "suppressed",
    "p": "partial",
}

_REMEDIES: Final[Mapping[CampaignState, str]] = {
    CampaignState.LOADING: "let all of its recipients come in first, or cancel it",
    CampaignState.FINISHED: "it is over, and can only be taken up again for those who failed",
    CampaignState.CANCELLED: "make a new one, under another id",
    CampaignState.EXPIRED: "make a new one, under another id",
}


def illegal(campaign: str, state: CampaignState, wanted: CampaignState) -> IllegalTransition:
    """The error of a campaign that cannot become what was wanted."""
    remedy = _REMEDIES.get(state, "ask for its state first")
    return IllegalTransition(f"campaign {campaign!r} is {state}: it cannot become {wanted}; {remedy}")


def distinct(digests: Sequence[str]) -> None:
    """Raise ValueError if a chunk has a recipient twice: which of the two is meant, only its maker knows."""
    if len(set(digests)) < len(digests):
        raise ValueError("a chunk has a digest twice: leave one of the two out")


@dataclass(frozen=True, slots=True)
class Creation:
    """Answer to ``create``. With ``lacking`` non-empty nothing was written: put those blobs and ask again.

    ``new`` is False if the campaign existed, with the same spec.
    """

    new: bool
    state: CampaignState
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Addition:
    """Answer to ``add``. With ``known`` non-empty nothing was written: leave those digests out and ask again.

    ``number`` is the chunk's.
    """

    number: int
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that the caller is to feed; nobody else gets it before the lease ends."""

    number: int
    content: bytes


@dataclass(frozen=True, slots=True)
class CampaignEntry:
    """All that the ledger knows of a campaign.

    ``counts`` are its recipients by state: ``waiting`` in chunks, the states of the ledger, and ``suppressed``. In a
    campaign that was cancelled or has expired, those who waited count as that.
    """

    id: str
    state: CampaignState
    lane: str
    spec: bytes
    total: int
    chunks: int
    counts: Mapping[str, int]
    created_at: float
    start_at: float = 0.0  # 0.0: at once
    started_at: float = 0.0  # when its first recipients were fed
    ended_at: float = 0.0
    expires_at: float = 0.0
    open_until: float = 0.0  # nothing goes out from then on, until it is set anew; 0.0: no such limit
    parked: int = 0  # messages set aside by a pause or by quiet hours
    retried: int = 0  # of the deferred, those that were tried: refused for now, or their answer was lost
    queues: tuple[str, ...] = ()  # of chunks still to be fed: "" and domains
    now: float = 0.0  # the store's time of this answer


@dataclass(frozen=True, slots=True)
class RecipientEntry:
    """What became of one recipient so far: ``state`` is "waiting", "suppressed", or a state of the ledger.

    ``reply`` is the relay's, or the reason; shortened if it is long.
    """

    digest: str
    state: str
    reply: str = ""


class Campaigns(abc.ABC):
    """The campaigns of a ledger."""

    # -- producer

    @abc.abstractmethod
    def create(
        self,
        campaign: str,
        spec: bytes,
        *,
        lane: str = "bulk",
        blobs: Sequence[str] = (),
        start_at: float = 0.0,
        expires_at: float = 0.0,
        width: int = 2,
    ) -> Creation:
        """Make a campaign in the state loading; with the same spec for a second time it changes nothing.

        Joins the users of its blobs, which stay until its retention is over. ``width`` is ``width_for`` so many recipients:
        the index has 64**width hashes.

        Raises:
            CampaignConflict: There is one under this id, with another spec.
        """

    @abc.abstractmethod
    def add(self, campaign: str, digests: Sequence[str], content: bytes) -> Addition:
        """Add a chunk of recipients, all of them new to the campaign, to one that is loading; all or nothing.

        The chunk that was added last, given again, has its number for an answer: the first answer may have been lost.

        Raises:
            CampaignNotFound:
            IllegalTransition: It is not loading any more.
            ValueError: A digest is given twice.
        """

    @abc.abstractmethod
    def start(self, campaign: str) -> CampaignState:
        """All recipients are in: running, or scheduled if its start is to come. Repeated it tells the state.

        Raises CampaignNotFound; IllegalTransition if it was cancelled.
        """

    @abc.abstractmethod
    def retry(self, campaign: str, digests: Sequence[str], content: bytes) -> tuple[str, ...]:
        """Add those of ``digests`` whose final record is failed as one chunk more, and let a finished one run again.

        All or nothing: with some that have not failed (any more) nothing is written, and these are the answer. What is
        left of their first messages goes. The chunk that was added last, given again, is no error.

        Raises:
            CampaignNotFound: Or it is being swept.
            IllegalTransition: It is loading, was cancelled, or has expired; or it finished, and would expire now.
            ValueError: A digest is given twice.
        """

    # -- feeder

    @abc.abstractmethod
    def live(self) -> list[CampaignEntry]:
        """Campaigns that want a feeder: running, or ended with parked messages to be let go or cancelled.

        ``spec`` is left empty. Sets scheduled ones whose start has come to running, and those past their expires_at to
        expired.
        """

    @abc.abstractmethod
    def take(self, campaign: str, owner: str, *, queue: str = "") -> Chunk | None:
        """The next chunk to be fed, from ``queue``, under a lease for ``owner``; asked again it is the same chunk.

        None if there is none, if another owner holds the lease of this queue, or if the campaign is not running and open.
        """

    @abc.abstractmethod
    def fed(
        self,
        campaign: str,
        number: int,
        owner: str,
        *,
        queue: str = "",
        kept: bytes | None = None,
        moved: Mapping[str, bytes] | None = None,
        rest: float = 0.0,
    ) -> bool:
        """The chunk's recipients are messages now: the next one is to follow. False if it was fed already.

        ``moved`` are recipients of it that were not fed, because their domain has its own pace: each content becomes a
        chunk of the queue named so, and ``kept`` replaces what this chunk has. If there is more in ``queue``, nobody
        takes of it for ``rest`` s, 10 minutes at most.
        """

    @abc.abstractmethod
    def set_open_until(self, campaign: str, moment: float) -> None:
        """Nothing of the campaign begins from ``moment`` on, until this is called again; 0.0: no such limit.

        Raises CampaignNotFound.
        """

    @abc.abstractmethod
    def unpark(self, campaign: str, limit: int = 500) -> int:
        """Let parked messages go (due now), or cancel or expire them with their campaign; returns how many.

        While it is paused or closed there are none to let go. Those that were put by hand stay where they are.
        """

    @abc.abstractmethod
    def finish(self, campaign: str) -> bool:
        """It is finished if it runs and every recipient has come to an end or waits for an operator (unknown, held).

        True for the one call that made it so. Those of a chunk that could not be read were fed as nobody: they wait on.
        """

    # -- operator

    @abc.abstractmethod
    def pause(self, campaign: str) -> CampaignState:
        """Nothing of it begins from now on. Returns the state; raises CampaignNotFound, IllegalTransition."""

    @abc.abstractmethod
    def resume(self, campaign: str) -> CampaignState:
        """Go on where it was paused. Raises CampaignNotFound, IllegalTransition."""

    @abc.abstractmethod
    def cancel(self, campaign: str) -> CampaignState:
        """Withdraw it: nothing of it begins from now on. Raises CampaignNotFound, IllegalTransition."""

    @abc.abstractmethod
    def get(self, campaign: str) -> CampaignEntry:
        """All that is known of a campaign; raises CampaignNotFound."""

    @abc.abstractmethod
    def ids(self, limit: int = 1000) -> list[str]:
        """The campaigns, newest first."""

    @abc.abstractmethod
    def chunk(self, campaign: str, number: int) -> bytes:
        """The content of a chunk; empty if there is none."""

    @abc.abstractmethod
    def recipients(self, campaign: str, digests: Sequence[str]) -> list[RecipientEntry]:
        """What became of these; a digest that the campaign does not have is left out."""

    @abc.abstractmethod
    def sweep(self, limit: int = 100) -> int:
        """Drop some of what is left of campaigns that ended longer than the retention ago, as each tick does.

        One that is loading, and that nobody has added to for so long, is cancelled.
        Goes through ``limit`` names of keys and returns how many: 0 if there is nothing left to do.
        """
