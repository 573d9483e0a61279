"""Every ledger: a feeder may die before or after any of its steps, its successor repeats them; nobody gets two messages.

Nobody is skipped either, whatever became of the first messages meanwhile.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter

import pytest

from mailqueue.ledger.base import Submission
from mailqueue.ledger.campaigns import CampaignState, message_of
from mailqueue.ledger.states import State

LEASE = 30.0
STEP = 4.0  # s between ticks
CHUNKS = {1: ("Aaaaaaaaaaaa", "Abbbbbbbbbbb", "Bccccccccccc"), 2: ("Bddddddddddd", "-eeeeeeeeeee")}
EVERYBODY = [digest for digests in CHUNKS.values() for digest in digests]
STEPS = ("take", "accept", "publish", "fed")


class DeathError(Exception):
    """The feeder is no more."""


class Feeder:
    """Feeds one campaign chunk by chunk; dies before its step of number ``dies``, or after it."""

    def __init__(self, bench, tasks, owner, dies=-1, *, after=False):
        self.bench = bench
        self.campaigns = bench.ledger.campaigns
        self.tasks = tasks  # the broker's queue
        self.owner = owner
        self.left = dies
        self.after = after

    def step(self, call):
        self.left -= 1
        if self.left == -1 and not self.after:
            raise DeathError
        answer = call()
        if self.left == -1:
            raise DeathError
        return answer

    def feed(self):
        """One chunk; False if there is none."""
        chunk = self.step(lambda: self.campaigns.take("news", self.owner))
        if chunk is None:
            return False
        ids = [message_of("news", digest) for digest in chunk.content.decode().split()]
        answer = self.step(lambda: self.bench.ledger.accept("default", [Submission(each, b"e") for each in ids]))
        new = [one.id for one in answer.accepted if one.new]
        self.step(lambda: self.tasks.append((answer.number, new)))
        self.step(lambda: self.campaigns.fed("news", chunk.number, self.owner))
        return True


class Fleet:
    """Workers that drain what the broker has, and a relay that counts who got how many copies."""

    def __init__(self, bench):
        self.bench = bench
        self.tasks = []
        self.copies = Counter()
        self.tokens = (f"token{number}" for number in itertools.count())

    def drain(self):
        while self.tasks:
            number, ids = self.tasks.pop(0)
            token = next(self.tokens)
            granted = self.bench.granted(*ids, token=token, number=number)
            for each, ours in zip(granted, self.bench.ledger.begin(granted, token), strict=True):
                if ours:
                    self.copies[each] += 1
                    state = State.FAILED if each.endswith("c") else State.SENT
                    assert self.bench.record(each, state, token=token)

    def live(self, seconds):
        """Time passes, and ticks publish what was lost."""
        for _ in range(math.ceil(seconds / STEP)):
            published = self.bench.live(STEP, step=STEP)
            self.tasks += [(task.number, [each for each, _ in task.items]) for task in published]
            self.drain()
        self.bench.jump(0)  # what has a time to live has lived by it


def start(bench):
    bench.ledger.campaigns.create("news", b"spec", width=1)
    for digests in CHUNKS.values():
        bench.ledger.campaigns.add("news", digests, " ".join(digests).encode())
    bench.ledger.campaigns.start("news")
    return Fleet(bench)


def die(bench, tasks, owner, dies, *, after):
    """One that feeds what it can until it dies; or until there is nothing left."""
    feeder = Feeder(bench, tasks, owner, dies, after=after)
    with contextlib.suppress(DeathError):
        while feeder.feed():
            pass


def end(bench, fleet):
    """A feeder that lives through it all."""
    feeder = Feeder(bench, fleet.tasks, "w:9")
    while feeder.feed():
        fleet.drain()
    fleet.live(90)  # in which lost tasks are found
    assert bench.ledger.campaigns.finish("news")
    assert fleet.copies == Counter({message_of("news", digest): 1 for digest in EVERYBODY})
    assert bench.tallies() == {"sent": 4, "failed": 1}
    assert sum(bench.counts().values()) == len(EVERYBODY)


@pytest.mark.parametrize("later", [LEASE, 5 * LEASE], ids=["in the grace", "after it"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies", range(2 * len(STEPS)), ids=[f"{step} {chunk}" for chunk in CHUNKS for step in STEPS])
def test_a_feeder_that_dies_at_any_step_is_taken_over(bench, dies, after, later):
    fleet = start(bench)
    die(bench, fleet.tasks, "w:1", dies, after=after)
    fleet.drain()
    fleet.live(later)
    end(bench, fleet)


@pytest.mark.parametrize("dies", range(len(STEPS)), ids=STEPS)
def test_so_is_one_after_the_other(bench, dies):
    fleet = start(bench)
    for owner, after in itertools.product(("w:1", "w:2", "w:3"), (False, True)):
        die(bench, fleet.tasks, owner, dies, after=after)
        fleet.live(LEASE)
    end(bench, fleet)


@pytest.mark.parametrize("turn", range(len(STEPS)), ids=STEPS)
def test_one_that_comes_back_late_feeds_nobody_twice(bench, turn):
    fleet = start(bench)

    class Frozen(Feeder):
        """Stands still before one of its steps; meanwhile others do all there is to do."""

        def step(self, call):
            self.left -= 1
            if self.left == -1:
                fleet.live(LEASE + 1)
                others = Feeder(bench, fleet.tasks, "w:2")
                while others.feed():
                    pass
                fleet.live(5 * LEASE)
            return call()

    Frozen(bench, fleet.tasks, "w:1", turn).feed()
    fleet.drain()
    end(bench, fleet)


@pytest.mark.parametrize("paused_for", [1, 5 * LEASE])
@pytest.mark.parametrize("dies", range(len(STEPS)), ids=STEPS)
def test_a_pause_in_between_changes_nothing(bench, dies, paused_for):
    fleet = start(bench)
    die(bench, fleet.tasks, "w:1", dies, after=True)
    bench.ledger.campaigns.pause("news")
    fleet.live(paused_for)
    assert not fleet.copies
    bench.ledger.campaigns.resume("news")
    while bench.ledger.campaigns.unpark("news", 2):
        pass
    fleet.live(LEASE)
    end(bench, fleet)


def test_those_who_failed_get_one_copy_more_however_often_their_feeder_dies(bench):
    fleet = start(bench)
    end(bench, fleet)
    failed = CHUNKS[1][2]
    for _ in range(2):
        assert bench.ledger.campaigns.retry("news", [failed], failed.encode()) == ()
    for dies, after in itertools.product(range(len(STEPS) - 1), (False, True)):
        die(bench, fleet.tasks, f"w:{dies}", dies, after=after)
        fleet.live(LEASE)
    while Feeder(bench, fleet.tasks, "w:9").feed():
        fleet.drain()
    fleet.live(90)
    assert fleet.copies[message_of("news", failed)] == 2
    assert fleet.copies.total() == len(EVERYBODY) + 1
    assert bench.ledger.campaigns.finish("news")
    assert bench.ledger.campaigns.get("news").state is CampaignState.FINISHED
