"""What is particular to the ledger in a store: keys, memory, scripts, one call an operation."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import redis

from mailqueue.errors import IllegalTransition, LedgerFault, LedgerUnavailable
from mailqueue.ledger.base import Draft, Settlement, Submission
from mailqueue.ledger.redis import RedisLedger
from mailqueue.ledger.results import encode_results
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

ACCEPTED = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok: queued as 4XyZ"))
MANY = {f"user{number}@example.com": ACCEPTED for number in range(20)}


def keys(bench):
    return {key.decode() for key in bench.client.scan_iter()}


def test_all_keys_share_one_hash_tag(stored):
    stored.ledger.put_blobs({"h": b"x"})
    stored.accept("a", blobs=("h",))
    stored.begun("a")
    stored.tick()
    assert keys(stored) == {
        f"{{mailqueue}}:{name}"
        for name in ("m:a", "e:a", "b:h", "u:h", "lane:default", "leased", "owned", "counts", "tick")
    }


DRAFT = Draft("queue", b"number ", b" it is")


def pushed(bench):
    """What lies in the queue of the drafts, oldest first."""
    return bench.client.lrange("queue", 0, -1)[::-1]


def test_the_task_is_pushed_by_the_call_that_accepts_its_messages(stored):
    stored.client.hset("{mailqueue}:lane:default", "counter", 2**53 - 3)
    assert stored.ledger.accept("default", [Submission("a", b""), Submission("b", b"")], draft=DRAFT).published
    assert stored.ledger.accept("default", [Submission("c", b"")], draft=DRAFT).published
    assert pushed(stored) == [b"number 9007199254740990 it is", b"number 9007199254740991 it is"]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([Submission("b", b"", send_at=4e9)], id="one is scheduled"),
        pytest.param([Submission("known", b"")], id="one is known"),
        pytest.param([Submission("b", b"", key="k", key_digest="d")], id="a key was taken"),
        pytest.param([Submission("b", b"", blobs=("h",))], id="a blob is lacking"),
        pytest.param([Submission("a", b"")], id="one comes twice"),
    ],
)
def test_a_task_is_pushed_only_if_all_of_its_messages_are_queued_by_that(stored, others):
    stored.ledger.accept("default", [Submission("known", b"", key="k", key_digest="d")])
    assert not stored.ledger.accept("default", [Submission("a", b""), *others], draft=DRAFT).published
    assert pushed(stored) == []


def test_a_repeated_accept_pushes_no_second_task(stored):
    for published in (True, False):
        assert stored.ledger.accept("default", [Submission("a", b"")], draft=DRAFT).published is published
    assert len(pushed(stored)) == 1


def test_ledgers_of_other_prefixes_see_nothing_of_each_other(stored):
    other = RedisLedger(stored.client, prefix="other")
    tagged = RedisLedger(stored.client, prefix="app{one}x")
    stored.accept("a")
    assert other.counts() == tagged.counts() == {}
    tagged.accept("default", [Submission("b", b"")])
    assert "app{one}x:m:b" in keys(stored)


def test_nothing_is_left_of_messages_beyond_their_retention(stored):
    stored.ledger.put_blobs({"h": b"x"})
    stored.accept("a", "b", blobs=("h",))
    stored.begun("a", "b")
    stored.record("a", State.SENT, results=MANY)
    stored.record("b", State.FAILED, results=MANY)
    stored.jump(604_801)
    stored.tick()
    stored.jump(3601)
    assert keys(stored) == {f"{{mailqueue}}:{name}" for name in ("lane:default", "counts", "events", "tick")}


def test_long_results_live_and_die_with_their_record(stored):
    stored.accept("a")
    stored.begun("a")
    stored.record("a", State.SENDING, results=MANY)
    stored.ledger.begin(["a"], "t1")
    stored.record("a", State.SENT)
    assert stored.ledger.get("a").results == MANY
    assert stored.client.pttl("{mailqueue}:x:a") == pytest.approx(604_800_000, abs=5000)


def results_of(size):
    """A result that takes ``size`` octets in the ledger."""
    empty = {"ann@example.com": Result(Verdict.ACCEPTED, Reply(250, ""))}
    room = size - len(encode_results(empty))
    return {"ann@example.com": Result(Verdict.ACCEPTED, Reply(250, "é" * (room // 2) + "!" * (room % 2)))}


@pytest.mark.parametrize("before", [0, 63, 64, 127, 128, 200, 255, 256])
@pytest.mark.parametrize("size", [63, 64, 65, 128, 129, 192, 255, 256])
def test_results_of_any_length_are_read_as_they_were_written(stored, before, size):
    """And what a longer or shorter text has left behind is not read with them."""
    stored.accept("a")
    stored.begun("a")
    if before:
        stored.record("a", State.SENDING, results=results_of(before))
        assert stored.ledger.get("a").results == results_of(before)
    wanted = results_of(size)
    assert len(encode_results(wanted)) == size
    stored.record("a", State.DEFERRED, results=wanted)
    assert stored.ledger.get("a").results == wanted
    stored.jump(60)
    stored.tick()
    [grant] = stored.claim("a", token="t2").granted
    assert grant.results == wanted
    assert stored.client.exists("{mailqueue}:x:a") == (size >= 256)


@pytest.mark.store
@pytest.mark.parametrize("stored", ["valkey"], indirect=True)
def test_the_answer_of_one_recipient_stays_in_the_record(stored):
    result = {
        "firstname.lastname@department.example.com": Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok: " + "x" * 99))
    }
    stored.accept("a")
    stored.begun("a")
    stored.record("a", State.SENT, results=result)
    assert not stored.client.exists("{mailqueue}:x:a")
    assert stored.client.object("encoding", "{mailqueue}:m:a") in {b"listpack", b"ziplist"}


@pytest.mark.store
@pytest.mark.parametrize("stored", ["valkey"], indirect=True)
@pytest.mark.parametrize("state", [State.QUEUED, State.SENDING, State.SENT, State.DEFERRED, State.FAILED])
def test_records_stay_small(stored, state):
    message_id = "0190c5a8f3d97a1b8c2d3e4f50617283"
    stored.ledger.put_blobs({"f" * 64: b"x", "e" * 64: b"y"})
    stored.accept(message_id, blobs=("f" * 64, "e" * 64), relay="marketing")
    if state is not State.QUEUED:
        stored.begun(message_id, token="f" * 32, owner="worker-7.mail.example.com:12345:678901")
    if state not in {State.QUEUED, State.SENDING}:
        stored.record(message_id, state, token="f" * 32, results=MANY, reason="a" * 100)
    key = f"{{mailqueue}}:m:{message_id}"
    assert stored.client.object("encoding", key) in {b"listpack", b"ziplist"}  # which is its name in Redis 6
    assert stored.client.memory_usage(key) < 700


def spied(ledger, client):
    calls = []

    class Spy:
        def execute_command(self, *command):
            calls.append(command[0])
            return client.execute_command(*command)

    ledger._client = Spy()
    return calls


def test_an_operation_is_one_call_whatever_the_number_of_messages(stored):
    ids = [f"m{number}" for number in range(100)]
    ledger, campaigns = stored.ledger, stored.ledger.campaigns

    def resolve():
        with pytest.raises(IllegalTransition):
            ledger.resolve("m1", State.SENT)

    operations = {
        "put_blobs": lambda: ledger.put_blobs({f"h{number}": b"x" for number in range(10)}),
        "get_blobs": lambda: ledger.get_blobs([f"h{number}" for number in range(10)]),
        "accept": lambda: ledger.accept("default", [Submission(each, b"e", blobs=("h1", "h2")) for each in ids]),
        "claim": lambda: ledger.claim("default", ids, token="t", owner="w", number=1),
        "begin": lambda: ledger.begin(ids, "t"),
        "renew": lambda: ledger.renew(ids, "t"),
        "unbegin": lambda: ledger.unbegin(ids[50:], "t"),
        "release": lambda: ledger.release(ids[50:], "t"),
        "record": lambda: ledger.record([Settlement(each, State.SENT) for each in ids[:40]], "t"),
        "free": lambda: ledger.free("w"),
        "tick": ledger.tick,
        "unpublished": lambda: ledger.unpublished(ids),
        "hold": lambda: ledger.hold(ids, "why"),
        "unhold": lambda: ledger.unhold(ids),
        "requeue": lambda: ledger.requeue(ids),
        "cancel": lambda: ledger.cancel(ids[90:]),
        "resolve": resolve,
        "relay_trouble": lambda: ledger.relay_trouble("eu", owner="w", delay=5.0),
        "relay_probe": lambda: ledger.relay_probe("eu", "w"),
        "relay_states": ledger.relay_states,
        "relay_recovered": lambda: ledger.relay_recovered("eu"),
        "owners": lambda: ledger.owners(""),
        "campaigns.create": lambda: campaigns.create("news", b"spec"),
        "campaigns.add": lambda: campaigns.add("news", [f"digest{number}" for number in range(100)], b"chunk"),
        "campaigns.start": lambda: campaigns.start("news"),
        "campaigns.live": campaigns.live,
        "campaigns.take": lambda: campaigns.take("news", "w"),
        "campaigns.fed": lambda: campaigns.fed("news", 1, "w"),
        "campaigns.set_open_until": lambda: campaigns.set_open_until("news", 4e9),
        "campaigns.unpark": lambda: campaigns.unpark("news"),
        "campaigns.retry": lambda: campaigns.retry("news", ["digest1"], b"chunk"),
        "campaigns.get": lambda: campaigns.get("news"),
        "campaigns.ids": campaigns.ids,
        "campaigns.chunk": lambda: campaigns.chunk("news", 1),
        "campaigns.recipients": lambda: campaigns.recipients("news", [f"digest{number}" for number in range(100)]),
        "campaigns.cancel": lambda: campaigns.cancel("news"),
        "campaigns.finish": lambda: campaigns.finish("news"),
        "campaigns.sweep": campaigns.sweep,
        "get": lambda: ledger.get("m1"),
        "list": lambda: ledger.list(State.QUEUED),
        "counts": ledger.counts,
        "counters": ledger.counters,
        "ping": ledger.ping,
    }
    client = ledger._client
    for operation in operations.values():  # after which the store knows all scripts
        operation()
    client.flushdb()
    calls = spied(ledger, client)
    for name, operation in operations.items():
        calls.clear()
        operation()
        assert len(calls) == 1, name


def test_a_store_that_has_forgotten_the_scripts_is_told_them_again(stored):
    stored.accept("a")
    stored.client.script_flush()
    assert stored.granted("a") == ["a"]
    stored.client.script_flush()
    assert stored.record("a", State.SENT)
    assert stored.counts() == {"sent": 1}


def test_time_is_the_servers(stored):
    ledger = RedisLedger(stored.client)
    before = time.time()
    (one,) = ledger.accept("default", [Submission("a", b"")]).accepted
    assert before - 1 <= one.accepted_at <= time.time() + 1
    shifted = RedisLedger(stored.client, clock_offset=lambda: -1000.0)
    (one,) = shifted.accept("default", [Submission("b", b"")]).accepted
    assert one.accepted_at == pytest.approx(before - 1000, abs=5)


def test_a_message_whose_envelope_is_gone_is_held(stored):
    stored.accept("a", "b")
    stored.granted("a", "b")
    stored.ledger.release(["a", "b"], "t1")
    stored.client.delete("{mailqueue}:e:a")
    (task,) = stored.live(1)
    assert [message_id for message_id, _envelope in task.items] == ["b"]
    assert stored.state("a") is State.HELD
    assert "envelope" in stored.ledger.get("a").reason
    assert stored.event("envelopes_lost") == 1


@pytest.mark.parametrize("index", ["due:default", "leased", "queued:default", "failed"])
def test_what_an_index_lists_by_mistake_does_no_harm(stored, index):
    stored.calm_down()
    stored.accept("a")
    stored.begun("a")
    stored.record("a", State.SENT)
    stored.claim(number=5)
    stored.client.zadd(f"{{mailqueue}}:{index}", {"a": 1, "ghost": 2})
    assert not any(task.items for task in stored.live(62))
    assert stored.state("a") is State.SENT
    assert stored.client.zcard(f"{{mailqueue}}:{index}") == 0


def test_a_failing_store_is_reported_in_words(stored):
    def refuse(*_command):
        raise redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")

    stored.ledger._client = type("Full", (), {"execute_command": staticmethod(refuse)})()
    with pytest.raises(LedgerUnavailable, match="raise its maxmemory") as caught:
        stored.accept("a")
    assert isinstance(caught.value.__cause__, redis.exceptions.OutOfMemoryError)


def test_a_connection_that_broke_is_tried_once_more(stored):
    client, calls = stored.ledger._client, []

    def stale(*command):
        calls.append(command)
        if len(calls) == 1:
            raise redis.exceptions.ConnectionError("Connection closed by server.")
        return client.execute_command(*command)

    stored.ledger._client = type("Stale", (), {"execute_command": staticmethod(stale)})()
    stored.ledger.ping()
    assert len(calls) == 2


def test_a_timeout_is_not_tried_again(stored):
    calls = []

    def frozen(*command):
        calls.append(command)
        raise redis.exceptions.TimeoutError("Timeout reading from socket")

    stored.ledger._client = type("Frozen", (), {"execute_command": staticmethod(frozen)})()
    with pytest.raises(LedgerUnavailable, match="did not answer within 1 s"):
        stored.ledger.ping()
    assert len(calls) == 1


def test_importing_the_ledger_imports_no_redis():
    code = "import sys, mailqueue.ledger.open; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.store
@pytest.mark.parametrize("stored", ["valkey"], indirect=True)
def test_a_backlog_of_200_000_with_one_message_requeued_is_not_published_twice(stored):
    """The one is published anew behind all others; a worker pops some, slowly; nothing is taken for lost."""
    ledger = stored.ledger
    stored.live(1)
    for start in range(0, 200_000, 100):
        ledger.accept("bulk", [Submission(f"m{number}", b"e") for number in range(start, start + 100)])
    stored.begun("m0", lane="bulk", token="t0", number=1)
    stored.record("m0", State.FAILED, token="t0")
    assert ledger.requeue(["m0"]) == ["deferred"]
    for number in range(1, 61):
        ids = [f"m{each}" for each in range((number - 1) * 100, number * 100) if each > 0]
        stored.begun(*ids, lane="bulk", number=number)
        assert all(ledger.record([Settlement(each, State.SENT) for each in ids], "t1"))
        stored.live(2)
    assert [task.items for task in stored.published if task.items] == [(("m0", b"e"),)]
    assert (stored.event("lost"), stored.event("barriers")) == (0, 0)
    assert sum(stored.counts("bulk").values()) == 200_000


def test_an_error_of_our_own_script_is_not_said_to_be_an_outage(stored, monkeypatch):
    """Whoever repeats until the store answers would repeat it for ever."""
    answer = redis.ResponseError("user_script:31: too many results to unpack script: 8a1f, on @user_script:31.")

    def fail(*_command):
        raise answer

    monkeypatch.setattr(stored.ledger._client, "execute_command", fail)
    with pytest.raises(LedgerFault, match="too many results to unpack"):
        stored.ledger.counts()


def test_nothing_is_left_of_keys_aliases_schedules_and_relays(stored):
    ledger = stored.ledger
    now = stored.clock.now()
    ledger.accept("default", [Submission("a", b"", key="k", send_at=now + 10, expires_at=now + 20)])
    ledger.accept("default", [Submission("b", b"", key="k")], replayed=True)
    ledger.accept("default", [Submission("c", b"", key="l", expires_at=now + 900)])
    stored.begun("c")
    stored.record("c", State.FAILED, results=MANY)
    ledger.requeue(["c"])
    stored.live(30)
    stored.begun("c", token="t2")
    stored.record("c", State.PARTIAL, token="t2", results=MANY)
    assert (stored.state("a"), stored.state("b")) == (State.EXPIRED, State.EXPIRED)
    ledger.relay_trouble("eu", owner="w", delay=5.0, latch="f")
    ledger.relay_trouble("eu", owner="w", delay=5.0)
    ledger.relay_recovered("eu", by_hand=True)
    stored.jump(604_801)
    stored.tick()
    assert keys(stored) == {f"{{mailqueue}}:{name}" for name in ("lane:default", "counts", "events", "tick")}
