"""Random operations on the ledger in memory and on a store, in lockstep: all answers and all records agree."""

from __future__ import annotations

from collections import Counter

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mailqueue.errors import (
    CampaignConflict,
    CampaignNotFound,
    IdempotencyConflict,
    IllegalTransition,
    MessageNotFound,
)
from mailqueue.ledger.base import Settlement, Submission
from mailqueue.ledger.rules import RESOLUTIONS, SETTLEMENT_STATES
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

LANES = ("default", "bulk")
DIGESTS = ("Aaaa", "Aaab", "B___", "-bcd")
IDS = ("a", "b", "c", "news~Aaaa", "news~Aaab", "news~B___")
HASHES = ("h1", "h2")
LISTED = tuple(set(State) - {State.SENT, State.CANCELLED, State.EXPIRED})

some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4)
tokens = st.sampled_from(("t1", "t2", "t3"))
owners = st.sampled_from(("w:1", "w:2"))
results = st.dictionaries(
    st.sampled_from(("ann@example.com", "bob@example.com", "carol@example.com")),
    st.builds(
        Result,
        st.sampled_from(Verdict),
        st.builds(Reply, st.sampled_from((250, 450, 550)), st.sampled_from(("Ok", "x" * 70))),
    ),
    max_size=3,
)
settlements = st.builds(
    Settlement,
    st.sampled_from(IDS),
    st.sampled_from(sorted(SETTLEMENT_STATES)),
    results,
    st.sampled_from((0.0, 45.0)),
    st.sampled_from(("", "a reason")),
)


ERRORS = (CampaignConflict, CampaignNotFound, IdempotencyConflict, IllegalTransition, MessageNotFound)
some_digests = st.lists(st.sampled_from(DIGESTS), min_size=1, max_size=4, unique=True)
names = st.sampled_from(("news", "news", "news", "other"))
chunks = st.integers(1, 4)
queues = st.sampled_from(("", "", "example.com"))


class Lockstep(RuleBasedStateMachine):
    """Two ledgers on one clock. Subclasses give ``benches``."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.store = self.benches()
        self.accepted = 0

    def both(self, call):
        """The answer of both ledgers, which is the same; or what both raise."""
        ours, theirs = (self.answer(call, bench.ledger) for bench in (self.memory, self.store))
        assert ours == theirs
        return ours

    def answer(self, call, ledger):
        try:
            return call(ledger)
        except ERRORS as error:
            return type(error), vars(error)

    @rule(
        lane=st.sampled_from(LANES),
        ids=some_ids,
        hold=st.booleans(),
        blobs=st.sets(st.sampled_from(HASHES)),
        restored=st.booleans(),
    )
    def accept(self, lane, ids, hold, blobs, restored):
        policy = "hold" if hold else "resend"
        wanted = [Submission(each, b"e" * 5, blobs=tuple(sorted(blobs)), on_unknown=policy) for each in ids]
        answer = self.both(lambda ledger: ledger.accept(lane, wanted, restored=restored))
        self.accepted += sum(each.new for each in answer.accepted)

    @rule(ids=some_ids)
    def accept_plain(self, ids):
        answer = self.both(lambda ledger: ledger.accept("default", [Submission(each, b"e") for each in ids]))
        self.accepted += sum(each.new for each in answer.accepted)

    @rule(
        ids=some_ids,
        send_in=st.sampled_from((-1.0, 20.0, 5000.0)),
        expires_in=st.sampled_from((None, 15.0, 60.0)),
        key=st.sampled_from(("", "k1", "k2" * 40)),
        digest=st.sampled_from("xxy"),
        replayed=st.booleans(),
    )
    def accept_for_later(self, ids, send_in, expires_in, key, digest, replayed):
        now = self.memory.clock.now()
        times = {"send_at": now + send_in, "expires_at": now + expires_in if expires_in else 0.0}
        wanted = [Submission(each, b"e", key=key, key_digest=digest, on_unknown="hold", **times) for each in ids]
        answer = self.both(lambda ledger: ledger.accept("default", wanted, replayed=replayed))
        if not isinstance(answer, tuple):
            self.accepted += sum(each.new for each in answer.accepted)

    @rule(ids=some_ids)
    def cancel(self, ids):
        self.both(lambda ledger: ledger.cancel(ids))

    @rule(ids=some_ids)
    def hold(self, ids):
        self.both(lambda ledger: ledger.hold(ids, "by hand"))

    @rule(ids=some_ids)
    def unhold(self, ids):
        self.both(lambda ledger: ledger.unhold(ids))

    @rule(ids=some_ids)
    def requeue(self, ids):
        self.both(lambda ledger: ledger.requeue(ids))

    @rule(each=st.sampled_from(IDS), state=st.sampled_from(sorted(RESOLUTIONS)), found=results)
    def resolve(self, each, state, found):
        self.both(lambda ledger: ledger.resolve(each, state, reason="found", results=found))

    @rule(
        owner=owners,
        delay=st.sampled_from((5.0, 90.0)),
        latch=st.sampled_from(("", "", "f1")),
        over=st.sampled_from(("", "a")),
        relay=st.sampled_from(("", "eu")),
    )
    def relay_trouble(self, relay, **facts):
        self.both(lambda ledger: ledger.relay_trouble(relay, reason="no", **facts))

    @rule(owner=owners, fingerprint=st.sampled_from(("f1", "f2")), relay=st.sampled_from(("", "eu")))
    def relay_probe(self, owner, fingerprint, relay):
        self.both(lambda ledger: ledger.relay_probe(relay, owner, fingerprint=fingerprint))

    @rule(relay=st.sampled_from(("", "eu")), by_hand=st.booleans())
    def relay_recovered(self, relay, by_hand):
        self.both(lambda ledger: ledger.relay_recovered(relay, by_hand=by_hand))

    @rule(
        name=names,
        spec=st.sampled_from((b"one", b"one", b"two")),
        blobs=st.sets(st.sampled_from(HASHES)),
        start_in=st.sampled_from((None, None, 20.0)),
        expires_in=st.sampled_from((None, None, 60.0)),
        width=st.integers(0, 2),
    )
    def create_campaign(self, name, spec, blobs, start_in, expires_in, width):
        now = self.memory.clock.now()
        options = {
            "blobs": sorted(blobs),
            "start_at": now + start_in if start_in else 0.0,
            "expires_at": now + expires_in if expires_in else 0.0,
            "width": width,
        }
        self.both(lambda ledger: ledger.campaigns.create(name, spec, **options))

    @rule(name=names, digests=some_digests, content=st.sampled_from((b"x", b"y")))
    def add_recipients(self, name, digests, content):
        self.both(lambda ledger: ledger.campaigns.add(name, digests, content))

    @rule(digests=some_digests, start_in=st.sampled_from((0.0, 20.0)))
    def make_campaign(self, digests, start_in):
        start_at = self.memory.clock.now() + start_in
        self.both(lambda ledger: ledger.campaigns.create("news", b"one", start_at=start_at, width=1))
        self.both(lambda ledger: ledger.campaigns.add("news", digests, b"x"))
        self.both(lambda ledger: ledger.campaigns.start("news"))

    @rule(owner=owners, queue=queues, hold=st.booleans())
    def feed(self, owner, queue, hold):
        chunk = self.both(lambda ledger: ledger.campaigns.take("news", owner, queue=queue))
        if chunk and not isinstance(chunk, tuple):
            self.accept("default", [each for each in IDS if each.startswith("news")], hold, [], restored=False)
            self.both(lambda ledger: ledger.campaigns.fed("news", chunk.number, owner, queue=queue))

    @rule(name=names, verb=st.sampled_from(("start", "pause", "resume", "resume", "cancel")))
    def turn_campaign(self, name, verb):
        self.both(lambda ledger: getattr(ledger.campaigns, verb)(name))

    @rule(name=names, digests=some_digests, content=st.sampled_from((b"x", b"z")))
    def retry(self, name, digests, content):
        self.both(lambda ledger: ledger.campaigns.retry(name, digests, content))

    @rule()
    def live_campaigns(self):
        self.both(lambda ledger: ledger.campaigns.live())

    @rule(name=names, owner=owners, queue=queues)
    def take(self, name, owner, queue):
        self.both(lambda ledger: ledger.campaigns.take(name, owner, queue=queue))

    @rule(
        name=names,
        number=chunks,
        owner=owners,
        queue=queues,
        kept=st.sampled_from((None, b"kept")),
        moved=st.sampled_from((None, {"example.com": b"moved"})),
        rest=st.sampled_from((0.0, 0.0, 20.0, 700.0)),
    )
    def fed(self, name, number, owner, **options):
        self.both(lambda ledger: ledger.campaigns.fed(name, number, owner, **options))

    @rule(name=names, opens_for=st.sampled_from((0.0, -5.0, 30.0)))
    def set_open_until(self, name, opens_for):
        moment = self.memory.clock.now() + opens_for if opens_for else 0.0
        self.both(lambda ledger: ledger.campaigns.set_open_until(name, moment))

    @rule(name=names, limit=st.sampled_from((0, 1, 500)))
    def unpark(self, name, limit):
        self.both(lambda ledger: ledger.campaigns.unpark(name, limit))

    @rule(name=names)
    def finish_campaign(self, name):
        self.both(lambda ledger: ledger.campaigns.finish(name))

    @rule()
    def sweep_campaigns(self):
        self.both(lambda ledger: ledger.campaigns.sweep(5000))

    @rule(key=st.sampled_from(HASHES))
    def put_blob(self, key):
        self.both(lambda ledger: ledger.put_blobs({key: b"content"}))

    @rule(ids=some_ids)
    def unpublished(self, ids):
        self.both(lambda ledger: ledger.unpublished(ids))

    @rule(lane=st.sampled_from(LANES), ids=some_ids, token=tokens, owner=owners, number=st.integers(0, 12))
    def claim(self, lane, ids, token, owner, number):
        self.both(lambda ledger: ledger.claim(lane, ids, token=token, owner=owner, number=number))

    @rule(each=st.sampled_from(IDS), token=tokens, owner=owners)
    def claim_alone(self, each, token, owner):
        self.both(lambda ledger: ledger.claim("default", [each], token=token, owner=owner, alone=True))

    @rule(ids=some_ids, token=tokens)
    def begin(self, ids, token):
        self.both(lambda ledger: ledger.begin(ids, token))

    @rule(ids=some_ids, token=tokens, owner=owners)
    def claim_and_begin(self, ids, token, owner):
        self.both(lambda ledger: ledger.claim("default", ids, token=token, owner=owner))
        self.both(lambda ledger: ledger.begin(ids, token))

    @rule(each=st.sampled_from(IDS), state=st.sampled_from(sorted(SETTLEMENT_STATES)), found=results, token=tokens)
    def claim_and_settle(self, each, state, found, token):
        given = [Settlement(each, state, found, reason="suppressed: gone")]
        self.both(lambda ledger: ledger.claim("default", [each], token=token, owner="w:1", alone=True))
        self.both(lambda ledger: ledger.begin([each], token))
        self.both(lambda ledger: ledger.record(given, token))

    @rule(ids=some_ids, token=tokens)
    def unbegin(self, ids, token):
        self.both(lambda ledger: ledger.unbegin(ids, token))

    @rule(ids=some_ids, token=tokens)
    def renew(self, ids, token):
        self.both(lambda ledger: ledger.renew(ids, token))

    @rule(given=st.lists(settlements, min_size=1, max_size=3), token=tokens)
    def record(self, given, token):
        self.both(lambda ledger: ledger.record(given, token))

    @rule(ids=some_ids, token=tokens, due_in=st.sampled_from((0.0, 45.0)))
    def release(self, ids, token, due_in):
        self.both(lambda ledger: ledger.release(ids, token, due_in=due_in, reason="released"))

    @rule(owner=owners)
    def free(self, owner):
        self.both(lambda ledger: ledger.free(owner))

    @rule(limit=st.sampled_from((1, 500)))
    def tick(self, limit):
        self._tick(limit)

    @rule(seconds=st.sampled_from((3, 35, 70)))
    def live(self, seconds):
        for _ in range(seconds):
            self._move(1.0)
            self._tick(500)
        self.store.jump(0)  # what has a time to live has lived by it

    @rule(seconds=st.sampled_from((0.3, 1.0, 4.0, 21.0, 31.0, 4000.0, 700_000.0, -2.0, -25.0, -8000.0)))
    def jump(self, seconds):
        self.memory.clock.moved += seconds
        self.store.clock.moved -= seconds  # which jump() adds again: the clock is one
        self.store.jump(seconds)

    def _move(self, seconds):
        self.memory.clock.moved += seconds
        self.store.unaged += seconds

    def _tick(self, limit):
        ours, theirs = self.memory.ledger.tick(limit), self.store.ledger.tick(limit)
        key = lambda task: (task.lane, task.number)  # noqa: E731 - lanes come in any order
        assert sorted(ours.publications, key=key) == sorted(theirs.publications, key=key)
        assert ours.found == theirs.found

    @invariant()
    def records_agree(self):
        for message_id in IDS:
            entries = []
            for bench in (self.memory, self.store):
                try:
                    entries.append(bench.ledger.get(message_id))
                except MessageNotFound:
                    entries.append(None)
            assert entries[0] == entries[1]

    @invariant()
    def views_agree(self):
        for state in LISTED:
            self.both(lambda ledger, state=state: ledger.list(state))
            self.both(lambda ledger, state=state: ledger.list(state, lane="default", after="b", limit=2))
        self.both(lambda ledger: ledger.relay_states())
        self.both(lambda ledger: ledger.owners("w"))
        self.both(lambda ledger: ledger.get_blobs(HASHES))

    @invariant()
    def campaigns_agree(self):
        for name in self.both(lambda ledger: ledger.campaigns.ids()):
            entry = self.both(lambda ledger, name=name: ledger.campaigns.get(name))
            told = self.both(lambda ledger, name=name: ledger.campaigns.recipients(name, DIGESTS))
            assert Counter(each.state for each in told) == entry.counts
            assert len(told) == entry.total
            for number in range(1, entry.chunks + 1):
                self.both(lambda ledger, name=name, number=number: ledger.campaigns.chunk(name, number))

    @invariant()
    def every_message_is_counted_once(self):
        counts = self.both(lambda ledger: ledger.counts())
        total = Counter()
        for states in counts.values():
            assert all(number > 0 for number in states.values())
            total.update(states)
        assert sum(total.values()) == self.accepted
        for state in LISTED:
            if state not in {State.FAILED, State.PARTIAL}:  # which are counted beyond their retention
                assert len(self.memory.ledger.list(state)) == total[state]

    @invariant()
    def no_transition_is_illegal(self):
        assert self.both(lambda ledger: ledger.counters())["illegal"] == 0


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
    run(pair_on_fakeredis, 12)


@pytest.mark.store
def test_memory_and_valkey_agree(valkey_url, pair_on):
    with redis.Redis.from_url(valkey_url, protocol=2) as client:

        def benches():
            client.flushall()
            return pair_on(client)

        run(benches, 40)
