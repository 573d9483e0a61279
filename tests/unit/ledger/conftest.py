"""Ledgers whose time the tests move: in memory, on fakeredis, on a real Valkey."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis

from mailqueue.ledger.base import Claim, Ledger, Publication, Settlement, Submission
from mailqueue.ledger.campaigns import message_of
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.redis import RedisLedger
from mailqueue.ledger.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.ledger.states import State

LEASE = 30.0
RETENTION = 604800.0


class Clock:
    """The time that a ledger under test goes by."""

    def __init__(self) -> None:
        self.started = 1_800_000_000.0
        self.moved = 0.0

    def now(self) -> float:
        return self.started + self.moved


class Bench:
    """A ledger, its clock, and the calls that most tests make."""

    def __init__(self, ledger: Ledger, clock: Clock, client: Any = None) -> None:
        self.ledger = ledger
        self.clock = clock
        self.client = client  # the store's, to look behind the port
        self.unaged = 0.0  # s that what has a time to live has not lived through yet
        self.published: list[Publication] = []
        self.found: Counter[str] = Counter()

    # -- time

    def jump(self, seconds: float) -> None:
        """Set the clock, forwards or backwards, without a tick; what has a time to live lives by it."""
        self.clock.moved += seconds
        self.unaged += seconds
        for key in self.client.scan_iter(count=1000) if self.client else ():
            left = self.client.pttl(key)
            if left > 0:
                self.client.pexpire(key, max(0, left - int(self.unaged * 1000)))
        self.unaged = 0.0

    def tick(self) -> list[Publication]:
        """One tick; what it published."""
        ticked = self.ledger.tick()
        self.published += ticked.publications
        self.found.update(ticked.found)
        return list(ticked.publications)

    def live(self, seconds: float, *, step: float = 1.0) -> list[Publication]:
        """Let time pass as a live fleet does, with a tick every ``step`` s; what the ticks published."""
        first = len(self.published)
        self.tick()
        for _ in range(round(seconds / step)):
            self.clock.moved += step
            self.unaged += step  # for the next jump: nothing lives so shortly that it would matter before
            self.tick()
        return self.published[first:]

    def calm_down(self) -> None:
        """Get the first ticks behind us, during which no lease expires."""
        self.live(LEASE + 2, step=4.0)

    # -- shorthand

    def accept(self, *ids: str, lane: str = "default", **options: Any) -> int:
        return self.ledger.accept(lane, [Submission(each, b"env-" + each.encode(), **options) for each in ids]).number

    def claim(self, *ids: str, token: str = "t1", owner: str = "w:1", **options: Any) -> Claim:
        return self.ledger.claim(options.pop("lane", "default"), ids, token=token, owner=owner, **options)

    def granted(self, *ids: str, **options: Any) -> list[str]:
        return [grant.id for grant in self.claim(*ids, **options).granted]

    def begun(self, *ids: str, token: str = "t1", owner: str = "w:1", **options: Any) -> None:
        """Claim and begin."""
        assert self.granted(*ids, token=token, owner=owner, **options) == list(ids)
        assert self.ledger.begin(ids, token) == [True] * len(ids)

    def record(self, message_id: str, state: State, token: str = "t1", **more: Any) -> bool:
        return self.ledger.record([Settlement(message_id, state, **more)], token)[0]

    def campaign(self, *digests: str, name: str = "news", **options: Any) -> list[str]:
        """A campaign that has begun, with these recipients in one chunk; the ids of their messages to be."""
        campaigns = self.ledger.campaigns
        campaigns.create(name, b"spec", **{"lane": "default", "width": 1, **options})
        assert campaigns.add(name, digests, b"chunk").known == ()
        campaigns.start(name)
        return [message_of(name, digest) for digest in digests]

    def fed(self, *digests: str, **options: Any) -> list[str]:
        """The same, and they are messages."""
        ids = self.campaign(*digests, **options)
        chunk = self.ledger.campaigns.take(options.get("name", "news"), "w:1")
        assert chunk
        self.accept(*ids)
        assert self.ledger.campaigns.fed(options.get("name", "news"), chunk.number, "w:1")
        return ids

    def settled(self, message_id: str, state: State, **more: Any) -> None:
        """Claimed, begun and recorded."""
        self.begun(message_id)
        assert self.record(message_id, state, **more)

    def tallies(self, name: str = "news") -> dict[str, int]:
        return dict(self.ledger.campaigns.get(name).counts)

    def state(self, message_id: str) -> State:
        return self.ledger.get(message_id).state

    def counts(self, lane: str = "default") -> dict[str, int]:
        return self.ledger.counts().get(lane, {})

    def event(self, name: str) -> int:
        return self.ledger.counters()[name]


def in_memory(clock: Clock) -> Bench:
    return Bench(MemoryLedger(clock=clock.now, lease_seconds=LEASE, retention=RETENTION), clock)


def in_store(client: Any, clock: Clock) -> Bench:
    # The scripts add the offset to the server's clock. For tests that clock stands at 0, so that time is exact.
    ledger = RedisLedger(client, lease_seconds=LEASE, retention=RETENTION, clock_offset=clock.now)
    ledger._scripts = {name: _on_a_standing_clock(script) for name, script in ledger._scripts.items()}
    return Bench(ledger, clock, client)


def _on_a_standing_clock(script: Script) -> Script:
    assert script.source.count('call("TIME")') == 1
    source = script.source.replace('call("TIME")', "{0, 0}")
    return Script(script.name, source, hashlib.sha1(source.encode()).hexdigest())


def fake_client() -> Any:
    """A client of a fakeredis of its own."""
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(server_type="valkey", version=(8,)))


@pytest.fixture(params=["memory", "fakeredis", pytest.param("valkey", marks=pytest.mark.store)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Every implementation of the port in turn."""
    if request.param == "memory":
        yield in_memory(Clock())
    elif request.param == "fakeredis":
        yield in_store(fake_client(), Clock())
    else:
        with redis.Redis.from_url(request.getfixturevalue("valkey_url"), protocol=2) as client:
            yield in_store(client, Clock())


@pytest.fixture(params=["fakeredis", pytest.param("valkey", marks=pytest.mark.store)])
def stored(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Every store that speaks Redis, for what is about keys and memory."""
    if request.param == "fakeredis":
        yield in_store(fake_client(), Clock())
    else:
        with redis.Redis.from_url(request.getfixturevalue("valkey_url"), protocol=2) as client:
            yield in_store(client, Clock())


@pytest.fixture
def pair_on() -> Any:
    """Makes two ledgers on one clock: in memory, and behind a client."""

    def pair(client: Any) -> tuple[Bench, Bench]:
        clock = Clock()
        return in_memory(clock), in_store(client, clock)

    return pair


@pytest.fixture
def pair_on_fakeredis(pair_on: Any) -> Any:
    """Makes two ledgers on one clock: in memory, and on a fakeredis of its own."""
    return lambda: pair_on(fake_client())
