"""Every ledger: an idempotency key is one message's, for as long as its record lives."""

from __future__ import annotations

import threading

import pytest

from mailqueue.errors import IdempotencyConflict, MessageNotFound
from mailqueue.ledger.base import Submission
from mailqueue.ledger.states import State


def offer(bench, message_id, key="order 7", digest="d1", **options):
    """The answer to one submission."""
    replayed = options.pop("replayed", False)
    each = Submission(message_id, b"env-" + message_id.encode(), key=key, key_digest=digest, **options)
    (one,) = bench.ledger.accept("default", [each], replayed=replayed).accepted
    return one


def test_the_second_message_under_a_key_is_answered_with_the_first(bench):
    first = offer(bench, "a")
    assert (first.id, first.asked, first.new) == ("a", "a", True)
    bench.jump(5)
    second = offer(bench, "b")
    assert (second.id, second.asked, second.new) == ("a", "b", False)
    assert (second.state, second.accepted_at) == (State.QUEUED, first.accepted_at)
    assert bench.counts() == {"queued": 1}
    assert bench.event("repeated") == 1
    assert bench.ledger.get("a").key == "order 7"
    with pytest.raises(MessageNotFound):
        bench.ledger.get("b")


def test_it_takes_no_number(bench):
    offer(bench, "a")
    assert bench.ledger.accept("default", [Submission("b", b"", key="order 7", key_digest="d1")]).number == 0


def test_the_same_id_under_the_same_key_is_known_by_its_id(bench):
    offer(bench, "a")
    again = offer(bench, "a")
    assert (again.id, again.new) == ("a", False)
    assert bench.event("repeated") == 0


def test_another_content_under_a_key_is_an_error_that_names_both(bench):
    offer(bench, "a")
    with pytest.raises(IdempotencyConflict, match="order 7") as caught:
        offer(bench, "b", digest="d2")
    assert (caught.value.key, caught.value.message_id) == ("order 7", "a")


def test_after_a_conflict_nothing_of_the_call_is_written(bench):
    offer(bench, "a")
    submissions = [
        Submission("b", b"b"),
        Submission("c", b"c", key="new", key_digest="d"),
        Submission("d", b"d", key="order 7", key_digest="d2"),
    ]
    with pytest.raises(IdempotencyConflict):
        bench.ledger.accept("default", submissions)
    assert bench.counts() == {"queued": 1}
    assert offer(bench, "e", key="new", digest="other").new
    assert bench.accept("f") == 3


def test_two_of_one_call_may_share_a_key(bench):
    submissions = [Submission(each, b"x", key="k", key_digest="d") for each in "ab"]
    answer = bench.ledger.accept("default", submissions)
    assert [(one.id, one.asked, one.new) for one in answer.accepted] == [("a", "a", True), ("a", "b", False)]
    assert bench.counts() == {"queued": 1}
    submissions = [Submission(each, b"x", key="l", key_digest=each) for each in "cd"]
    with pytest.raises(IdempotencyConflict):
        bench.ledger.accept("default", submissions)
    assert bench.counts() == {"queued": 1}


def test_nothing_is_taken_while_a_blob_is_lacking(bench):
    assert bench.ledger.accept("default", [Submission("a", b"", blobs=("h",), key="k", key_digest="d")]).lacking
    assert offer(bench, "b", key="k", digest="other").new


def test_keys_are_kept_whatever_their_length_and_alphabet(bench):
    for number, key in enumerate(["x" * 64, "x" * 65, "x" * 66, "ключ", "a key\nof two lines", "{tag}:*"]):
        assert offer(bench, f"m{number}", key=key).new
        assert not offer(bench, f"n{number}", key=key).new


@pytest.mark.parametrize("state", [State.SENT, State.FAILED, State.CANCELLED])
def test_a_key_lives_as_long_as_the_record_of_its_message(bench, state):
    offer(bench, "a")
    bench.jump(604_000)
    if state is State.CANCELLED:
        bench.ledger.cancel(["a"])
    else:
        bench.begun("a")
        bench.record("a", state)
    bench.jump(604_700)
    bench.tick()
    again = offer(bench, "b")
    assert (again.id, again.state, again.new) == ("a", state, False)
    bench.jump(200)
    bench.tick()
    assert offer(bench, "c", digest="d2").new
    assert offer(bench, "d", digest="d2").id == "c"


def test_a_message_sent_again_by_hand_keeps_its_key(bench):
    offer(bench, "a")
    bench.begun("a")
    bench.record("a", State.FAILED)
    bench.ledger.requeue(["a"])
    bench.jump(3 * 604_800)
    assert offer(bench, "b").id == "a"


def test_of_two_producers_at_once_one_is_first(bench):
    answers = []
    barrier = threading.Barrier(4)

    def produce(producer):
        barrier.wait()
        answers.extend((number, offer(bench, f"p{producer}n{number}", key=f"k{number}")) for number in range(20))

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(20):
        same = [one for key, one in answers if key == number]
        assert len({one.id for one in same}) == 1
        assert [one.new for one in same].count(True) == 1
    assert bench.counts() == {"queued": 20}


def test_one_replayed_from_a_spool_is_known_by_both_ids(bench):
    offer(bench, "first")
    one = offer(bench, "spooled", replayed=True)
    assert (one.id, one.new) == ("first", False)
    assert bench.ledger.get("spooled") == bench.ledger.get("first")
    assert bench.claim("spooled").missing == ("spooled",)
    assert bench.ledger.cancel(["spooled"]) == ["cancelled"]
    assert bench.state("first") is State.CANCELLED
    assert offer(bench, "spooled", replayed=True).id == "first"
    assert bench.ledger.get("spooled").id == "first"
    bench.jump(604_801)
    with pytest.raises(MessageNotFound):
        bench.ledger.get("spooled")


def test_one_replayed_that_repeats_nothing_is_itself(bench):
    assert offer(bench, "spooled", replayed=True).new
    assert bench.ledger.get("spooled").id == "spooled"
