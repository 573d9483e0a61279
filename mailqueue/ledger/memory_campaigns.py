"""The campaigns' operations on the ledger in memory: the twin of the scripts ``lua/campaign_*.lua``.

Leaves the lock and the clock to ``memory``, and what messages mean to their campaign to ``campaignbook``. Times are
milliseconds.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

from typing import TYPE_CHECKING

from mailqueue.errors import CampaignConflict, CampaignNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.campaignbook import WAITING, Campaign
from mailqueue.ledger.campaigns import (
    CAMPAIGN_TRANSITIONS,
    Addition,
    CampaignEntry,
    Campaigns,
    CampaignState,
    Chunk,
    Creation,
    RecipientEntry,
    distinct,
    illegal,
    message_of,
)
from mailqueue.ledger.states import FINAL, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from mailqueue.ledger.book import Book

__all__ = ["MemoryCampaigns"]

_S = CampaignState


class MemoryCampaigns(Campaigns):
    """The campaigns on one book. ``call`` makes an operation undisturbed, and gives its time."""

    def __init__(self, book: Book, call: Callable[[], AbstractContextManager[int]]) -> None:
        self._book = book
        self._call = call

    # -- producer

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
        with self._call() as now:
            known = self._find(campaign)
            if known:
                if known.spec != spec:
                    raise CampaignConflict(campaign)
                return Creation(new=False, state=known.state)
            lacking = tuple(key for key in dict.fromkeys(blobs) if self._book.blob(key, now) is None)
            if lacking:
                return Creation(new=False, state=_S.LOADING, lacking=lacking)
            made = Campaign(campaign, spec, lane, tuple(dict.fromkeys(blobs)), now, width)
            made.start_at, made.expires_at = rules.ahead(start_at), rules.ahead(expires_at)
            self._book.campaigns.campaigns[campaign] = made
            self._book.campaigns.ended[campaign] = now  # unless somebody goes on with it
            for key in made.blobs:
                self._book.join_blob(key, f"c:{campaign}")
            return Creation(new=True, state=made.state)

    def add(self, campaign: str, digests: Sequence[str], content: bytes) -> Addition:
        distinct(digests)
        with self._call() as now:
            found = self._known(campaign)
            if found.state is not _S.LOADING:
                raise illegal(campaign, found.state, _S.LOADING)
            known = tuple(digest for digest in digests if digest in found.index)
            if known:
                again = len(known) == len(digests) and found.contents[found.chunks] == content
                return Addition(found.chunks) if again else Addition(0, known)
            found.index.update(dict.fromkeys(digests, WAITING))
            found.total += len(digests)
            self._book.campaigns.ended[campaign] = now
            return Addition(found.push("", content))

    def start(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "start")

    def retry(self, campaign: str, digests: Sequence[str], content: bytes) -> tuple[str, ...]:
        distinct(digests)
        with self._call() as now:
            found = self._known(campaign)
            if found.swept:
                raise CampaignNotFound(campaign)
            if found.is_late(now):
                raise illegal(campaign, _S.EXPIRED, _S.RUNNING)
            if found.state in {_S.LOADING, _S.CANCELLED, _S.EXPIRED}:  # it can be taken up no more, or not yet
                raise illegal(campaign, found.state, _S.RUNNING)
            others = tuple(digest for digest in digests if not self._has_failed(found, digest, now))
            if others:
                again = all(found.index.get(digest) == WAITING for digest in digests)
                return () if again and found.contents.get(found.chunks) == content else others
            for digest in digests:
                found.index[digest] = WAITING
                left = self._book.load(message_of(campaign, digest), now)
                if left:
                    self._book.sweep(left, now)
            found.tallies[State.FAILED] -= len(digests)
            found.push("", content)
            if found.state is _S.FINISHED:
                found.state, found.ended = _S.RUNNING, 0
                self._book.campaigns.ended.pop(campaign, None)
                self._book.campaigns.live.add(campaign)
            return ()

    # -- feeder

    def live(self) -> list[CampaignEntry]:
        book = self._book.campaigns
        with self._call() as now:
            answer = []
            for name in sorted(book.live):
                found = book.campaigns[name]
                if found.is_late(now) and _S.EXPIRED in CAMPAIGN_TRANSITIONS[found.state]:
                    self._end(found, _S.EXPIRED, now)
                elif found.state is _S.SCHEDULED and found.start_at <= now:
                    found.state = _S.RUNNING
                parked = self._parked(found)
                if found.ended and not parked:
                    book.live.discard(name)
                elif found.state not in {_S.SCHEDULED, _S.PAUSED}:
                    answer.append(self._entry(found, now, spec=b""))
            return answer

    def take(self, campaign: str, owner: str, *, queue: str = "") -> Chunk | None:
        rules.nameable(owner)
        with self._call() as now:
            found = self._find(campaign)
            if found is None or found.state is not _S.RUNNING or found.stop(now):
                return None
            holder, until = found.leases.get(queue, ("", 0))
            # A lease that ends later than one from now was given before the clock was set back. One of nobody is a rest.
            longest = self._book.lease if holder else rules.milliseconds(rules.REST_MAX)
            if holder != owner and now < until <= now + longest:
                return None
            numbers = found.queues.get(queue)
            if not numbers:
                return None
            found.leases[queue] = (owner, now + self._book.lease)
            return Chunk(numbers[0], found.contents[numbers[0]])

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
        rules.nameable(owner)
        with self._call() as now:
            found = self._find(campaign)
            numbers = found.queues.get(queue) if found else None
            if not found or not numbers or numbers[0] != number:
                return False
            numbers.pop(0)
            if not numbers:
                del found.queues[queue]
            if found.leases.get(queue, ("", 0))[0] == owner:
                del found.leases[queue]
            if kept is not None:
                found.contents[number] = kept
            for domain, content in (moved or {}).items():
                found.push(domain, content)
            pause = min(rules.ahead(rest), rules.milliseconds(rules.REST_MAX))
            if pause and queue in found.queues:
                found.leases[queue] = ("", now + pause)
            found.started = found.started or now
            return True

    def set_open_until(self, campaign: str, moment: float) -> None:
        with self._call():
            self._known(campaign).open_until = rules.ahead(moment)

    def unpark(self, campaign: str, limit: int = 500) -> int:
        with self._call() as now:
            found = self._find(campaign)
            return self.let_go(found, limit, now) if found else 0

    def finish(self, campaign: str) -> bool:
        with self._call() as now:
            found = self._find(campaign)
            if found is None or found.state is not _S.RUNNING:
                return False
            if found.waiting and found.queues:
                return False
            if found.under_way or self._parked(found):
                return False
            self._end(found, _S.FINISHED, now)
            return True

    # -- operator

    def pause(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "pause")

    def resume(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "resume")

    def cancel(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "cancel")

    def get(self, campaign: str) -> CampaignEntry:
        with self._call() as now:
            found = self._known(campaign)
            return self._entry(found, now, spec=found.spec)

    def ids(self, limit: int = 1000) -> list[str]:
        with self._call():
            campaigns = self._book.campaigns.campaigns.values()
            return [each.id for each in sorted(campaigns, key=lambda one: (one.created, one.id), reverse=True)][
                : max(0, limit)
            ]

    def chunk(self, campaign: str, number: int) -> bytes:
        with self._call():
            found = self._find(campaign)
            return found.contents.get(number, b"") if found else b""

    def recipients(self, campaign: str, digests: Sequence[str]) -> list[RecipientEntry]:
        with self._call() as now:
            found = self._find(campaign)
            if found is None:
                return []
            return [self._recipient(found, digest, now) for digest in digests if digest in found.index]

    def sweep(self, limit: int = 100) -> int:
        with self._call() as now:
            return self.sweep_some(limit, now)

    # -- the parts of operations

    def sweep_some(self, limit: int, now: int) -> int:
        """Go through some names of what is left of the campaign that ended first, if that is long ago."""
        book = self._book.campaigns
        due = sorted((ended, name) for name, ended in book.ended.items() if ended <= now - self._book.retention)
        if not due:
            return 0
        found = book.campaigns[due[0][1]]
        if found.state is _S.LOADING:  # nobody has added to it for so long
            self._end(found, _S.CANCELLED, now)
            return 1
        if self._parked(found):
            return self.let_go(found, limit, now)
        names: int = found.chunks + 64**found.width
        step = min(limit, names - found.swept)
        found.swept += step
        if found.swept < names:
            return step
        for key in found.blobs:
            self._book.leave_blob(key, f"c:{found.id}", now)
        del book.campaigns[found.id], book.ended[found.id]
        book.live.discard(found.id)
        return step + 1

    def let_go(self, found: Campaign, limit: int, now: int) -> int:
        """Let some of its parked messages go, where its state says; how many."""
        stop = found.stop(now)
        if stop is State.HELD:
            return 0
        ids = self._book.first(found.parked, limit)
        for message_id in ids:
            record = self._book.load(message_id, now)
            if record is None or record.state is not State.HELD or self._book.campaigns.of(record) is not found:
                self._book.leave(found.parked, message_id)
            elif stop is None:
                self._book.unpark(record, now)
            else:
                self._book.stop(record, stop, now)
        return len(ids)

    def _turn(self, campaign: str, verb: str) -> CampaignState:
        with self._call() as now:
            found = self._known(campaign)
            wanted, legal = _turned(found, verb, now)
            if not legal:
                raise illegal(campaign, found.state, wanted)
            if wanted is found.state:
                return wanted
            if wanted is _S.CANCELLED:
                self._end(found, wanted, now)
            else:
                found.state = wanted
                self._book.campaigns.ended.pop(campaign, None)
                self._book.campaigns.live.add(campaign)
            return wanted

    def _end(self, found: Campaign, state: CampaignState, now: int) -> None:
        found.state, found.ended = state, now
        self._book.campaigns.ended[found.id] = now
        if not self._parked(found):
            self._book.campaigns.live.discard(found.id)

    def _find(self, campaign: str) -> Campaign | None:
        return self._book.campaigns.campaigns.get(campaign)

    def _known(self, campaign: str) -> Campaign:
        found = self._find(campaign)
        if found is None:
            raise CampaignNotFound(campaign)
        return found

    def _parked(self, found: Campaign) -> int:
        return len(self._book.first(found.parked, 1_000_000_000))

    def _has_failed(self, found: Campaign, digest: str, now: int) -> bool:
        record = self._book.load(message_of(found.id, digest), now)  # which, restored, may have been requeued by hand
        final = found.final(digest)
        return final is not None and final[0] == State.FAILED and (record is None or record.state in FINAL)

    def _recipient(self, found: Campaign, digest: str, now: int) -> RecipientEntry:
        final = found.final(digest)
        if final:
            return RecipientEntry(digest, *final)
        record = self._book.load(message_of(found.id, digest), now)
        if record and self._book.campaigns.of(record) is found:
            return RecipientEntry(digest, str(record.state), record.reason)
        return RecipientEntry(digest, _waits_as(found))

    def _entry(self, found: Campaign, now: int, *, spec: bytes) -> CampaignEntry:
        counts = {name: number for name, number in sorted(found.tallies.items()) if number}
        if found.waiting:
            name = _waits_as(found)
            counts[name] = counts.get(name, 0) + found.waiting
        over = found.state in {_S.CANCELLED, _S.EXPIRED}
        return CampaignEntry(
            id=found.id,
            state=found.state,
            lane=found.lane,
            spec=spec,
            total=found.total,
            chunks=found.chunks,
            counts=counts,
            created_at=found.created / 1000,
            start_at=found.start_at / 1000,
            started_at=found.started / 1000,
            ended_at=found.ended / 1000,
            expires_at=found.expires_at / 1000,
            open_until=found.open_until / 1000,
            parked=self._parked(found),
            retried=found.retried,
            queues=() if over else tuple(sorted(found.queues)),
            now=now / 1000,
        )


def _turned(found: Campaign, verb: str, now: int) -> tuple[CampaignState, bool]:
    """What it is to become, and whether it may. What was done already is no error: the call may be a repeated one."""
    state, running = found.state, _S.RUNNING if found.start_at <= now else _S.SCHEDULED
    if verb == "start":
        legal = state is not _S.CANCELLED
        return state if legal and state is not _S.LOADING else running, legal
    if verb == "resume":
        goes = state in {_S.RUNNING, _S.SCHEDULED}
        return state if goes else running, goes or state is _S.PAUSED
    wanted = _S.PAUSED if verb == "pause" else _S.CANCELLED
    return wanted, state is wanted or wanted in CAMPAIGN_TRANSITIONS[state]


def _waits_as(found: Campaign) -> str:
    """How those count who are no messages yet."""
    return str(found.state) if found.state in {_S.CANCELLED, _S.EXPIRED} else "waiting"
