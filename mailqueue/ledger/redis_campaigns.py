"""The campaigns in Redis or Valkey: one script a call, ``lua/campaign_*.lua``. Keys and fields: docs/ledger.md.

Leaves calling, and what an error means, to ``redis``.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailqueue.errors import CampaignConflict, CampaignNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.campaigns import (
    Addition,
    CampaignEntry,
    Campaigns,
    CampaignState,
    Chunk,
    Creation,
    RecipientEntry,
    distinct,
    illegal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["RedisCampaigns"]

_S = CampaignState


class RedisCampaigns(Campaigns):
    """The campaigns of a ledger: ``call`` runs one of its scripts, ``execute`` a command."""

    def __init__(self, call: Callable[..., Any], execute: Callable[..., Any], prefix: str) -> None:
        self._call = call
        self._execute = execute
        self._prefix = prefix

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
        facts = (spec, lane, rules.ahead(start_at), rules.ahead(expires_at), width)
        word, *more = self._call("campaign_create", campaign, *facts, *dict.fromkeys(blobs))
        if word == b"conflict":
            raise CampaignConflict(campaign)
        if word == b"lacking":
            return Creation(new=False, state=_S.LOADING, lacking=_texts(more))
        return Creation(new=word == b"new", state=_S(more[0].decode()))

    def add(self, campaign: str, digests: Sequence[str], content: bytes) -> Addition:
        distinct(digests)
        answer = self._call("campaign_add", campaign, content, "\n".join(digests))
        word, *more = _legal(campaign, answer, _S.LOADING)
        return Addition(more[0]) if word == b"added" else Addition(0, _texts(more))

    def start(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "start")

    def retry(self, campaign: str, digests: Sequence[str], content: bytes) -> tuple[str, ...]:
        distinct(digests)
        answer = self._call("campaign_retry", campaign, content, "\n".join(digests))
        return _texts(_legal(campaign, answer, _S.RUNNING)[1:])

    # -- feeder

    def live(self) -> list[CampaignEntry]:
        return [_entry(answer, b"") for answer in self._call("campaign_live")]

    def take(self, campaign: str, owner: str, *, queue: str = "") -> Chunk | None:
        rules.nameable(owner)
        answer = self._call("campaign_take", campaign, owner, queue)
        return Chunk(*answer) if answer else None

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
        chunks = [part for item in (moved or {}).items() for part in item]
        replaced = (0, b"") if kept is None else (1, kept)
        pause = rules.ahead(rest)
        return bool(self._call("campaign_fed", campaign, number, owner, queue, pause, *replaced, *chunks) == 1)

    def set_open_until(self, campaign: str, moment: float) -> None:
        if self._call("campaign_open_until", campaign, rules.ahead(moment)) == 0:
            raise CampaignNotFound(campaign)

    def unpark(self, campaign: str, limit: int = 500) -> int:
        return int(self._call("campaign_unpark", campaign, limit)) if limit > 0 else 0

    def finish(self, campaign: str) -> bool:
        return bool(self._call("campaign_finish", campaign) == 1)

    # -- operator

    def pause(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "pause")

    def resume(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "resume")

    def cancel(self, campaign: str) -> CampaignState:
        return self._turn(campaign, "cancel")

    def get(self, campaign: str) -> CampaignEntry:
        answer = self._call("campaign_get", campaign)
        if not answer:
            raise CampaignNotFound(campaign)
        return _entry(*answer)

    def ids(self, limit: int = 1000) -> list[str]:
        if limit <= 0:
            return []
        return list(_texts(self._execute("ZREVRANGE", f"{self._prefix}campaigns", 0, limit - 1)))

    def chunk(self, campaign: str, number: int) -> bytes:
        content: bytes | None = self._execute("GET", f"{self._prefix}c:{campaign}:k:{number}")
        return content or b""

    def recipients(self, campaign: str, digests: Sequence[str]) -> list[RecipientEntry]:
        answer = iter(_texts(self._call("campaign_recipients", campaign, "\n".join(digests))))
        return [RecipientEntry(*facts) for facts in zip(*[answer] * 3, strict=True)]

    def sweep(self, limit: int = 100) -> int:
        return int(self._call("campaign_sweep", limit)) if limit > 0 else 0

    # -- the parts of operations

    def _turn(self, campaign: str, verb: str) -> CampaignState:
        return _S(_legal(campaign, self._call("campaign_turn", campaign, verb))[1].decode())


def _legal(campaign: str, answer: list[Any], wanted: CampaignState | None = None) -> list[Any]:
    """``answer``, unless it is that there is no such campaign, or that it cannot become ``wanted``."""
    if answer[0] == b"missing":
        raise CampaignNotFound(campaign)
    if answer[0] == b"illegal":
        raise illegal(campaign, _S(answer[1].decode()), wanted or _S(answer[2].decode()))
    return answer


def _entry(answer: list[Any], spec: bytes) -> CampaignEntry:
    state, lane, total, chunks, *times, retried, name, told, parked, now, queues, tallies = answer
    counts = {each.decode(): number for each, number in zip(*[iter(tallies)] * 2, strict=True) if number}
    state = _S(state.decode())
    over = state in {_S.CANCELLED, _S.EXPIRED}
    if total > told:
        waits_as = str(state) if over else "waiting"
        counts[waits_as] = counts.get(waits_as, 0) + total - told
    created, start_at, started, ended, expires_at, open_until = (moment / 1000 for moment in times)
    return CampaignEntry(
        id=name.decode(),
        state=state,
        lane=lane.decode(),
        spec=spec,
        total=total,
        chunks=chunks,
        counts=counts,
        created_at=created,
        start_at=start_at,
        started_at=started,
        ended_at=ended,
        expires_at=expires_at,
        open_until=open_until,
        parked=parked,
        retried=retried,
        queues=() if over else tuple(sorted(_texts(queues))),
        now=now / 1000,
    )


def _texts(answer: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(each.decode() for each in answer)
