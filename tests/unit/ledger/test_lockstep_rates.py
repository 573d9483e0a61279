"""Random traffic on the limits in memory and on a store, in lockstep: all answers agree, and no limit is exceeded."""

from __future__ import annotations

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mailqueue.ledger.memory import MemoryLedger
from mailqueue.rate import Limits

DOMAINS = ("a.example", "b.example", "c.example")
OWNERS = ("w:1", "w:2", "w:3")
LIMITS = (
    "10/s",
    "0.7/s, 40/min",
    "333/s, 100/min, 150/h; a.example 3/s, 1 connection",
    "unlimited; * 2/s, 2 connections; b.example 20/min",
    "2 connections",
)
OVERRIDES = (None, "5/s", "unlimited; a.example unlimited", "* 1/s", "a.example 60/min, 1 connection; b.example 9/s")

wanted = st.dictionaries(st.sampled_from(DOMAINS), st.integers(1, 60), min_size=1, max_size=3)


class Lockstep(RuleBasedStateMachine):
    """Two ledgers on one clock. Subclasses give ``benches``."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.store = self.benches()
        self.unused: dict[str, int] = {}

    def both(self, call):
        ours, theirs = (call(bench.ledger.rates) for bench in (self.memory, self.store))
        assert ours == theirs
        return ours

    @rule(
        wanted=wanted,
        limits=st.sampled_from(LIMITS),
        owner=st.sampled_from(OWNERS),
        urgent=st.booleans(),
        relay=st.sampled_from(("", "eu")),
    )
    def take(self, wanted, limits, owner, urgent, relay):
        asked = Limits.parse(limits)
        answer = self.both(lambda rates: rates.take(relay, wanted, limits=asked, owner=owner, urgent=urgent))
        assert all(0 <= answer.granted[domain] <= number for domain, number in wanted.items())
        assert {domain for domain, number in wanted.items() if answer.granted[domain] < number} == set(answer.waits)
        self.unused = dict(answer.granted)

    @rule(part=st.integers(1, 4))
    def give_back(self, part):
        unused = {domain: number // part for domain, number in self.unused.items()}
        self.unused = {}
        self.both(lambda rates: rates.give_back("eu", unused))

    @rule(owner=st.sampled_from(OWNERS))
    def leave(self, owner):
        self.both(lambda rates: rates.leave("eu", owner))

    @rule(domain=st.sampled_from(DOMAINS), limits=st.sampled_from(LIMITS))
    def slow_down(self, domain, limits):
        asked = Limits.parse(limits)
        self.both(lambda rates: rates.slow_down("eu", domain, limits=asked, reason="450 4.7.1"))

    @rule(limits=st.sampled_from(LIMITS), sent=st.dictionaries(st.sampled_from(DOMAINS), st.integers(1, 500)))
    def limited(self, limits, sent):
        asked = Limits.parse(limits)
        self.both(lambda rates: rates.limited("eu", asked, sent=sent))

    @rule(limits=st.sampled_from(OVERRIDES))
    def override(self, limits):
        self.both(lambda rates: rates.override("eu", limits))

    @rule(
        seconds=st.sampled_from((0.004, 0.05, 0.2, 1.0, 7.0, 12.0, 31.0, 65.0, 4000.0, 200_000.0, -0.5, -40.0, -9000.0))
    )
    def jump(self, seconds):
        self.memory.clock.moved += seconds
        self.store.clock.moved -= seconds  # which jump() adds again: the clock is one
        self.store.jump(seconds)

    @invariant()
    def states_agree(self):
        self.both(lambda rates: rates.states())


def run(benches, examples):
    machine = type("Machine", (Lockstep,), {"benches": staticmethod(benches)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=round(examples * settings().max_examples / 400),  # so many in CI; see tests/conftest.py
            stateful_step_count=40,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),  # to explain a failure takes longer than a test may
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def test_memory_and_fakeredis_agree(pair_on_fakeredis):
    run(pair_on_fakeredis, 40)


@pytest.mark.store
def test_memory_and_valkey_agree(valkey_url, pair_on):
    with redis.Redis.from_url(valkey_url, protocol=2) as client:

        def benches():
            client.flushall()
            return pair_on(client)

        run(benches, 120)


@given(
    pace=st.sampled_from((0.3, 3.0, 17.0, 250.0)),
    steps=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 90), st.booleans()), min_size=5, max_size=60),
)
def test_whatever_the_demand_no_stretch_of_time_sees_more_than_the_rate(pace, steps):
    """Its burst besides; and with urgent mail in it, what may be a second ahead."""
    clock = [0]
    rates = MemoryLedger(clock=lambda: 1_800_000_000 + clock[0] / 1000).rates
    limits = Limits.parse(f"{pace}/s")
    past: list[tuple[int, int]] = []
    ahead = max(1.0, pace) if any(urgent for *_, urgent in steps) else 0.0
    for milliseconds, number, urgent in steps:
        clock[0] += milliseconds
        granted = rates.take("eu", {"a": number}, limits=limits, owner="w", urgent=urgent).granted["a"]
        past.append((clock[0], granted))
        within = 0
        for at, count in reversed(past):
            within += count
            assert within <= 1 + ((clock[0] - at) / 1000 + 0.1) * pace + ahead + 1e-6
