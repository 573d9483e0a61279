"""Every ledger: what it means to be accepted, and how large parts are kept."""

from __future__ import annotations

import pytest

from mailqueue.errors import MessageNotFound
from mailqueue.ledger.base import Acceptance, Draft, Submission
from mailqueue.ledger.states import State


def test_an_accepted_message_is_known_in_full(bench):
    answer = bench.ledger.accept("urgent", [Submission("a", b"env", relay="eu", on_unknown="hold")])
    assert answer.number == 1
    (one,) = answer.accepted
    assert (one.id, one.state, one.new) == ("a", State.QUEUED, True)
    entry = bench.ledger.get("a")
    assert (entry.id, entry.state, entry.lane, entry.relay, entry.envelope) == ("a", "queued", "urgent", "eu", b"env")
    assert (entry.attempts, entry.crashes, entry.unknowns, entry.reason, entry.results) == (0, 0, 0, "", {})
    assert entry.accepted_at == entry.updated_at == one.accepted_at == pytest.approx(bench.clock.now(), abs=2)
    assert entry.due_at is None


def test_envelopes_are_octets(bench):
    content = bytes(range(256)) * 3
    bench.ledger.accept("default", [Submission("a", content)])
    assert bench.ledger.get("a").envelope == content


def test_nothing_to_accept_is_nothing_new(bench):
    assert bench.ledger.accept("default", []) == Acceptance(0)
    assert bench.ledger.counts() == {}


def test_a_draft_is_published_or_the_answer_says_that_it_was_not(bench):
    answer = bench.ledger.accept("default", [Submission("a", b"env")], draft=Draft("queue", b"<", b">"))
    pushed = [] if bench.client is None else bench.client.lrange("queue", 0, -1)
    assert pushed == ([b"<1>"] if answer.published else [])
    assert bench.state("a") is State.QUEUED


def test_accepting_a_known_id_changes_nothing_and_says_so(bench):
    bench.accept("a")
    again = bench.ledger.accept("default", [Submission("a", b"other")])
    assert again.number == 0
    assert [(one.state, one.new) for one in again.accepted] == [(State.QUEUED, False)]
    assert bench.ledger.get("a").envelope == b"env-a"
    assert bench.counts() == {"queued": 1}


def test_a_known_id_is_answered_with_its_state_and_first_time(bench):
    bench.accept("a")
    first = bench.ledger.get("a").accepted_at
    bench.jump(5)
    bench.begun("a")
    bench.record("a", State.SENT)
    (one,) = bench.ledger.accept("default", [Submission("a", b"env")]).accepted
    assert (one.state, one.new, one.accepted_at) == (State.SENT, False, first)


def test_known_and_new_messages_may_come_together(bench):
    bench.accept("a")
    answer = bench.ledger.accept("default", [Submission("a", b"x"), Submission("b", b"y")])
    assert answer.number == 2
    assert [one.new for one in answer.accepted] == [False, True]
    assert bench.counts() == {"queued": 2}


def test_an_id_twice_in_one_call_is_one_message(bench):
    answer = bench.ledger.accept("default", [Submission("a", b"x"), Submission("a", b"y")])
    assert [one.new for one in answer.accepted] == [True, False]
    assert bench.counts() == {"queued": 1}
    assert bench.ledger.get("a").envelope == b"x"


def test_a_call_takes_one_number_and_lanes_count_for_themselves(bench):
    assert [bench.accept("a", "b"), bench.accept("c"), bench.accept("d", lane="bulk")] == [1, 2, 1]
    assert bench.ledger.counts() == {"bulk": {"queued": 1}, "default": {"queued": 3}}


def test_thousands_may_be_accepted_and_claimed_in_one_call(bench):
    ids = [f"m{number:05}" for number in range(5000)]
    assert bench.accept(*ids) == 1
    assert bench.granted(*ids) == ids
    assert bench.counts() == {"sending": 5000}


def test_what_was_restored_is_counted(bench):
    bench.accept("a")
    bench.ledger.accept("default", [Submission("a", b""), Submission("b", b"")], restored=True)
    assert bench.event("restored") == 1


def test_an_unpublished_message_is_deferred_until_its_time(bench):
    bench.tick()
    bench.accept("a")
    bench.ledger.unpublished(["a"], due_in=2.0)
    assert bench.state("a") is State.DEFERRED
    assert bench.ledger.get("a").due_at == pytest.approx(bench.clock.now() + 2, abs=0.5)
    assert bench.live(1) == []
    (task,) = bench.live(2)
    assert (task.lane, task.number, task.items, task.alone) == ("default", 2, (("a", b"env-a"),), False)
    assert bench.state("a") is State.QUEUED
    assert bench.event("unpublished") == 1


def test_a_task_that_arrived_after_all_is_not_deferred(bench):
    bench.accept("a")
    bench.granted("a")
    bench.ledger.unpublished(["a", "unheard of"])
    assert bench.state("a") is State.SENDING
    bench.ledger.unpublished([])


# -- large parts


def test_with_a_blob_lacking_nothing_is_written(bench):
    bench.ledger.put_blobs({"h1": b"one"})
    wanted = [Submission("a", b"x"), Submission("b", b"y", blobs=("h1", "h2")), Submission("c", b"z", blobs=("h2",))]
    assert bench.ledger.accept("default", wanted) == Acceptance(0, (), ("h2",))
    with pytest.raises(MessageNotFound):
        bench.ledger.get("a")
    assert bench.ledger.counts() == {}
    bench.ledger.put_blobs({"h2": b"two"})
    assert bench.ledger.accept("default", wanted).number == 1


def test_a_known_message_needs_no_blob_again(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",))
    bench.begun("a")
    bench.record("a", State.SENT)
    bench.jump(3601)
    assert bench.ledger.get_blobs(["h"]) == {}
    assert bench.ledger.accept("default", [Submission("a", b"x", blobs=("h",))]).lacking == ()


def test_blobs_are_fetched_by_hash_and_what_is_not_there_is_left_out(bench):
    bench.ledger.put_blobs({"h1": b"\x00\xff", "h2": b"two"})
    assert bench.ledger.get_blobs(["h1", "nothing", "h2"]) == {"h1": b"\x00\xff", "h2": b"two"}
    assert bench.ledger.get_blobs([]) == {}
    bench.ledger.put_blobs({})


def test_a_blob_that_nobody_joins_is_dropped_after_an_hour(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.jump(3590)
    assert bench.ledger.get_blobs(["h"])
    bench.jump(11)
    assert bench.ledger.get_blobs(["h"]) == {}
    assert bench.ledger.accept("default", [Submission("a", b"", blobs=("h",))]).lacking == ("h",)


def test_putting_an_unused_blob_again_gives_it_another_hour(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.jump(3000)
    bench.ledger.put_blobs({"h": b"x"})
    bench.jump(3000)
    assert bench.ledger.get_blobs(["h"])


def test_a_blob_is_kept_for_as_long_as_it_has_users_and_an_hour_longer(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", "b", blobs=("h", "h"))
    bench.jump(100_000)
    bench.ledger.put_blobs({"h": b"x"})  # by a producer that does not know
    bench.jump(100_000)
    bench.begun("a", "b")
    bench.record("a", State.SENT)
    bench.jump(4000)
    assert bench.ledger.get_blobs(["h"])
    bench.record("b", State.SENT)
    bench.jump(3590)
    assert bench.ledger.get_blobs(["h"])
    bench.jump(20)
    assert bench.ledger.get_blobs(["h"]) == {}


def test_a_blob_that_was_left_can_be_joined_again(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",))
    bench.begun("a")
    bench.record("a", State.SENT)
    bench.accept("b", blobs=("h",))
    bench.jump(100_000)
    assert bench.ledger.get_blobs(["h"])


@pytest.mark.parametrize("state", [State.FAILED, State.PARTIAL, State.HELD, State.DEFERRED])
def test_what_keeps_its_envelope_keeps_its_blobs(bench, state):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",))
    bench.begun("a")
    bench.record("a", state, due_in=90_000)
    bench.jump(10_000)
    assert bench.ledger.get_blobs(["h"])
    assert bench.ledger.get("a").envelope


def test_a_swept_message_leaves_its_blobs(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",))
    bench.begun("a")
    bench.record("a", State.FAILED)
    bench.jump(604_801)
    bench.tick()
    assert bench.found["swept"] == 1
    assert bench.ledger.get_blobs(["h"])
    bench.jump(3601)
    assert bench.ledger.get_blobs(["h"]) == {}
