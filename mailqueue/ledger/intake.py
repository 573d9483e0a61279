"""What the in-memory ledger accepts, and what it knows already. The twin of ``lua/accept.lua``.

Leaves the lock and the clock to ``memory``. Times are milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailqueue.errors import IdempotencyConflict
from mailqueue.ledger import rules
from mailqueue.ledger.base import Acceptance, Accepted
from mailqueue.ledger.book import Record
from mailqueue.ledger.campaignbook import WAITING, digest_of
from mailqueue.ledger.campaigns import campaign_of
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.ledger.base import Submission
    from mailqueue.ledger.book import Book
    from mailqueue.ledger.campaignbook import Campaign

__all__ = ["accept"]


def accept(
    book: Book, lane: str, submissions: Sequence[Submission], now: int, *, restored: bool, replayed: bool
) -> Acceptance:
    """One call of the ledger's ``accept``."""
    call = _Intake(book, now, restored=restored)
    for each in submissions:
        call.take(each)
    wanted = dict.fromkeys(key for each in call.fresh.values() for key in each.blobs)
    lacking = tuple(key for key in wanted if book.blob(key, now) is None)
    if lacking:
        return Acceptance(0, (), lacking)
    number = 0
    for each in call.fresh.values():
        record = _record(each, lane, now)
        record.member = call.members.get(each.id, 0)
        if record.state is State.QUEUED:
            number = number or book.marks(lane).next_number()
        book.add(record, number if record.state is State.QUEUED else record.since)
        if record.key:
            book.keys[record.key] = (record.id, each.key_digest)
    for record, campaign in call.adopted:
        book.campaigns.adopt(record, campaign)
    for asked, first in call.repeated.items():
        book.events["repeated"] += 1
        if replayed:
            book.alias(asked, first, now)
    if restored:
        book.events["restored"] += len(call.fresh)
    return Acceptance(number, tuple(call.answers))


class _Intake:
    """What one call is found to bring."""

    def __init__(self, book: Book, now: int, *, restored: bool) -> None:
        self._book = book
        self._now = now
        self._restored = restored
        self.members: dict[str, int] = {}  # id -> when the campaign was made whose message it is
        self.adopted: list[tuple[Record, Campaign]] = []
        self._keys: dict[str, Submission] = {}  # taken by those that are fresh
        self.fresh: dict[str, Submission] = {}
        self.answers: list[Accepted] = []
        self.repeated: dict[str, str] = {}  # id -> of the first message under its key

    def take(self, submission: Submission) -> None:
        """Find out what ``submission`` is. Raises IdempotencyConflict."""
        if self._answer_known(submission.id, submission.id):
            return
        campaign = campaign_of(submission.id)
        if campaign and not self._is_waiting(submission.id, campaign):
            return
        kept = rules.kept_key(submission.key)
        first, digest = self._holder(kept)
        if first:
            if digest != submission.key_digest:
                raise IdempotencyConflict(key=submission.key, message_id=first)
            self.repeated[submission.id] = first
            self._answer_known(first, submission.id)
            return
        self.fresh[submission.id] = submission
        if kept:
            self._keys[kept] = submission
        self._answer(submission.id, submission.id, _first_state(submission, self._now), self._now, new=True)

    def _is_waiting(self, message_id: str, name: str) -> bool:
        """Whether a campaign's message is new. The answer for one that is not is given: what became of it."""
        campaign = self._book.campaigns.campaigns.get(name)
        if campaign is None or digest_of(message_id) not in campaign.index:
            if not self._restored:
                self._answer(message_id, message_id, State.CANCELLED, 0)
            return self._restored  # the store has lost its campaign: it is a message of its own then
        final = self._book.campaigns.final(message_id)
        state = final[0] if final else campaign.stop(self._now)
        if state in {None, State.HELD}:  # one that has to wait is set aside when it is claimed
            self.members[message_id] = campaign.created
            return True
        self._answer(message_id, message_id, state or State.CANCELLED, 0)
        return False

    def _note_adoption(self, record: Record) -> None:
        """It was restored when the store had lost its campaign; now the campaign has the same recipient waiting."""
        campaign = self._book.campaigns.campaigns.get(campaign_of(record.id))
        known = (record, campaign) in self.adopted or self._book.campaigns.of(record) is campaign
        if campaign and not known and campaign.index.get(digest_of(record.id)) == WAITING:
            self.adopted.append((record, campaign))

    def _answer_known(self, message_id: str, asked: str) -> bool:
        record = self._book.load(message_id, self._now)
        if record:
            self._note_adoption(record)
            self._answer(message_id, asked, record.state, record.accepted)
            return True
        if message_id in self.fresh:
            self._answer(message_id, asked, _first_state(self.fresh[message_id], self._now), self._now)
            return True
        return False

    def _answer(self, message_id: str, asked: str, state: State, accepted: int, *, new: bool = False) -> None:
        self.answers.append(Accepted(message_id, state, accepted / 1000, new=new, asked=asked))

    def _holder(self, key: str) -> tuple[str, str]:
        """Id of the message that took ``key``, in this call or before, and the digest of its content."""
        if not key:
            return "", ""
        if key in self._keys:
            return self._keys[key].id, self._keys[key].key_digest
        record, digest = self._book.holder(key, self._now) or (None, "")
        return record.id if record else "", digest


def _record(submission: Submission, lane: str, now: int) -> Record:
    state = _first_state(submission, now)
    return Record(
        id=submission.id,
        lane=lane,
        relay=submission.relay,
        hold=submission.on_unknown == "hold",
        blobs=submission.blobs,
        envelope=submission.envelope,
        accepted=now,
        updated=now,
        state=state,
        since=rules.milliseconds(submission.send_at) if state is State.SCHEDULED else now,
        deadline=rules.milliseconds(submission.expires_at),
        key=rules.kept_key(submission.key),
    )


def _first_state(submission: Submission, now: int) -> State:
    return State.SCHEDULED if rules.milliseconds(submission.send_at) > now else State.QUEUED
