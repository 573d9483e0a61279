"""Every ledger: what operators do by hand, and how it meets what workers do at the same time."""

from __future__ import annotations

import threading

import pytest

from mailqueue.errors import IllegalTransition, MessageNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import FINAL, State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

ACCEPTED = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok"))
DEFERRED = Result(Verdict.DEFERRED, Reply(450, "4.2.0 later"))
REFUSED = Result(Verdict.REFUSED, Reply(550, '5.1.1 no ":["r",'))


def bring(bench, state, message_id="a"):
    """Bring a new message into ``state``."""
    later = bench.clock.now() + 3600
    bench.accept(message_id, on_unknown="hold", send_at=later if state is State.SCHEDULED else 0)
    if state is State.CANCELLED:
        assert bench.ledger.cancel([message_id]) == ["cancelled"]
    elif state is State.EXPIRED:
        bench.ledger.cancel([message_id])
        message_id += "x"
        bench.accept(message_id, expires_at=bench.clock.now())
        bench.claim(message_id)
    elif state is State.HELD:
        assert bench.ledger.hold([message_id], "why") == ["held"]
    elif state not in {State.SCHEDULED, State.QUEUED}:
        bench.begun(message_id)
        if state is not State.SENDING:
            bench.record(message_id, state, due_in=60)
    assert bench.state(message_id) is state
    return message_id


def published(tasks):
    return [message_id for task in tasks for message_id, _envelope in task.items]


# -- cancel


@pytest.mark.parametrize("state", [State.SCHEDULED, State.QUEUED, State.DEFERRED, State.HELD])
def test_what_is_not_being_sent_is_cancelled(bench, state):
    bring(bench, state)
    assert bench.ledger.cancel(["a"]) == ["cancelled"]
    entry = bench.ledger.get("a")
    assert (entry.state, entry.envelope, entry.due_at, entry.reason) == (State.CANCELLED, None, None, "withdrawn")
    assert bench.counts() == {"cancelled": 1}
    assert bench.claim("a", token="t2").refused == {"a": "cancelled"}
    assert published(bench.live(70)) == []
    bench.jump(604_800)
    with pytest.raises(MessageNotFound):
        bench.ledger.get("a")


def test_what_is_claimed_and_not_begun_is_cancelled_before_its_last_byte(bench):
    bench.accept("a", "b")
    bench.granted("a", "b")
    assert bench.ledger.cancel(["a"]) == ["cancelled"]
    assert bench.ledger.begin(["a", "b"], "t1") == [False, True]
    assert bench.ledger.renew(["a"], "t1") == [False]
    bench.ledger.release(["a"], "t1")
    assert bench.state("a") is State.CANCELLED
    assert bench.event("illegal") == bench.event("fenced") == 0


@pytest.mark.parametrize("state", sorted(FINAL - {State.CANCELLED}))
def test_what_is_final_is_too_late_to_cancel(bench, state):
    message_id = bring(bench, state)
    assert bench.ledger.cancel([message_id]) == ["late"]
    assert bench.state(message_id) is state


def test_cancelling_is_answered_for_each_and_may_be_repeated(bench):
    bring(bench, State.SENT, "sent")
    bring(bench, State.SENDING, "sending")
    bring(bench, State.QUEUED, "queued")
    asked = ["queued", "missing", "sent", "sending", "queued"]
    assert bench.ledger.cancel(asked) == ["cancelled", "missing", "late", "cancelling", "cancelled"]
    assert bench.ledger.cancel(asked) == ["cancelled", "missing", "late", "cancelling", "cancelled"]
    assert bench.ledger.get("sending").asked is State.CANCELLED
    assert bench.ledger.cancel([]) == []


@pytest.mark.parametrize("state", [State.SENT, State.PARTIAL, State.FAILED])
def test_what_was_being_sent_ends_as_the_relay_says(bench, state):
    bring(bench, State.SENDING)
    bench.ledger.cancel(["a"])
    assert bench.record("a", state)
    assert bench.state("a") is state
    assert bench.ledger.get("a").asked is None


def deferred_by_the_relay(bench):
    bench.record("a", State.DEFERRED, results={"ann@example.com": DEFERRED})


def not_written_after_all(bench):
    bench.ledger.unbegin(["a"], "t1")


def progress(bench):
    bench.record("a", State.SENDING, results={"ann@example.com": ACCEPTED})


def child_died(bench):
    bench.ledger.free("w:1")


def lease_ended(bench):
    bench.live(70)


COMING_BACK = [deferred_by_the_relay, not_written_after_all, progress]
LOSING_THE_ANSWER = [child_died, lease_ended, lambda bench: bench.record("a", State.UNKNOWN)]


@pytest.mark.parametrize("come_back", [*COMING_BACK, *LOSING_THE_ANSWER])
def test_a_cancel_during_sending_is_honoured_instead_of_another_copy(bench, come_back):
    bench.accept("a")
    bench.begun("a")
    assert bench.ledger.cancel(["a"]) == ["cancelling"]
    come_back(bench)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.envelope, entry.asked) == (State.CANCELLED, None, None)
    assert entry.unknowns == (come_back in LOSING_THE_ANSWER)
    assert bench.counts() == {"cancelled": 1}
    assert published(bench.live(70)) == []
    assert bench.ledger.owners("") == []
    assert bench.event("illegal") == bench.event("resent") == 0


@pytest.mark.parametrize("lose", LOSING_THE_ANSWER)
def test_with_hold_a_cancelled_message_rests_in_unknown_until_it_is_resolved(bench, lose):
    bench.accept("a", on_unknown="hold")
    bench.begun("a")
    bench.ledger.cancel(["a"])
    lose(bench)
    assert (bench.state("a"), bench.ledger.get("a").asked) == (State.UNKNOWN, State.CANCELLED)
    assert bench.ledger.resolve("a", State.DEFERRED) is State.CANCELLED


def test_what_waits_for_an_answer_is_cancelled_instead_of_another_copy(bench):
    bring(bench, State.UNKNOWN)
    assert bench.ledger.cancel(["a"]) == ["cancelling"]
    assert bench.record("a", State.SENT)
    assert bench.state("a") is State.SENT


def test_poison_is_failed_though_a_cancel_was_asked_for(bench):
    bench.accept("a")
    for number in range(3):
        bench.begun("a", token=f"t{number}", alone=True)
        if number == 2:
            bench.ledger.cancel(["a"])
        bench.ledger.free("w:1")
        bench.live(93)  # CRASH_WAIT at its longest
    assert bench.state("a") is State.FAILED
    bench.ledger.requeue(["a"])
    assert bench.state("a") is State.DEFERRED


def test_a_late_answer_of_a_cancelled_message_is_kept_for_the_operator(bench):
    results = {f"user{number}@example.com": ACCEPTED for number in range(9)}
    bench.accept("a")
    bench.begun("a")
    bench.ledger.free("w:1")
    assert bench.ledger.cancel(["a"]) == ["cancelled"]
    assert bench.record("a", State.SENT, results=results)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.results, entry.unknowns) == (State.CANCELLED, results, 1)


def test_cancel_and_claim_at_the_same_moment_agree(bench):
    ids = [f"m{number}" for number in range(40)]
    bench.accept(*ids)
    words, begun = [], []

    def withdraw():
        for message_id in ids:
            words.extend(bench.ledger.cancel([message_id]))

    def send():
        for message_id in ids:
            if bench.granted(message_id):
                begun.extend([message_id] if bench.ledger.begin([message_id], "t1") == [True] else [])

    threads = [threading.Thread(target=target) for target in (send, withdraw)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = dict(zip(ids, words, strict=True))
    for message_id in ids:
        assert (said[message_id] == "cancelled") == (bench.state(message_id) is State.CANCELLED)
        assert (said[message_id] == "cancelling") == (message_id in begun)
    assert bench.event("illegal") == 0


# -- hold, unhold


@pytest.mark.parametrize("state", [State.SCHEDULED, State.QUEUED, State.DEFERRED, State.UNKNOWN])
def test_what_is_not_being_sent_is_held(bench, state):
    bring(bench, state)
    assert bench.ledger.hold(["a"], "look at\nthis") == ["held"]
    entry = bench.ledger.get("a")
    assert (entry.state, entry.reason, entry.envelope, entry.due_at) == (State.HELD, "look at this", b"env-a", None)
    assert published(bench.live(70)) == []
    assert bench.ledger.list(State.HELD) == ["a"]
    assert bench.ledger.hold(["a"]) == ["held"]


def test_what_is_claimed_and_not_begun_is_held_before_its_last_byte(bench):
    bench.accept("a")
    bench.granted("a")
    assert bench.ledger.hold(["a"]) == ["held"]
    assert bench.ledger.begin(["a"], "t1") == [False]
    assert bench.ledger.owners("") == []


@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_is_final_is_too_late_to_hold(bench, state):
    message_id = bring(bench, state)
    assert bench.ledger.hold([message_id, "missing"]) == ["late", "missing"]
    assert bench.state(message_id) is state


@pytest.mark.parametrize("come_back", [*COMING_BACK, *LOSING_THE_ANSWER])
def test_a_hold_during_sending_is_honoured_instead_of_another_copy(bench, come_back):
    bench.accept("a")
    bench.begun("a")
    assert bench.ledger.hold(["a"], "look at this") == ["holding"]
    assert bench.ledger.get("a").asked is State.HELD
    come_back(bench)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.reason, entry.asked) == (State.HELD, "look at this", None)
    assert published(bench.live(70)) == []


def test_a_cancel_stands_against_a_hold_and_not_the_other_way_round(bench):
    bring(bench, State.SENDING)
    bench.ledger.cancel(["a"])
    assert bench.ledger.hold(["a"]) == ["cancelling"]
    bring(bench, State.SENDING, "b")
    bench.ledger.hold(["b"])
    assert bench.ledger.cancel(["b"]) == ["cancelling"]
    for each in "ab":
        bench.record(each, State.DEFERRED)
        assert bench.state(each) is State.CANCELLED


@pytest.mark.parametrize("state", [State.QUEUED, State.DEFERRED, State.UNKNOWN])
def test_what_is_let_go_is_due_now_and_ages_anew(bench, state):
    bring(bench, state)
    bench.ledger.hold(["a"])
    bench.jump(600_000)
    assert bench.ledger.unhold(["a"]) == ["deferred"]
    entry = bench.ledger.get("a")
    assert (entry.state, entry.due_at) == (State.DEFERRED, pytest.approx(bench.clock.now(), abs=0.01))
    assert published(bench.live(1)) == ["a"]
    (grant,) = bench.claim("a", token="t2").granted
    assert grant.since == pytest.approx(bench.clock.now() - 1, abs=1.5)


def test_what_was_scheduled_is_not_let_go_before_its_time(bench):
    bring(bench, State.SCHEDULED)
    bench.ledger.hold(["a"])
    bench.jump(60)
    bench.ledger.unhold(["a"])
    assert bench.ledger.get("a").due_at == pytest.approx(bench.clock.now() + 3540, abs=1)


def test_a_holding_is_taken_back(bench):
    bring(bench, State.SENDING)
    bench.ledger.hold(["a"])
    assert bench.ledger.unhold(["a"]) == ["sending"]
    bench.record("a", State.DEFERRED, due_in=5)
    assert bench.state("a") is State.DEFERRED


@pytest.mark.parametrize("state", sorted(set(State) - {State.HELD}))
def test_what_is_not_held_is_not_let_go(bench, state):
    message_id = bring(bench, state)
    assert bench.ledger.unhold([message_id, "missing"]) == ["refused", "missing"]
    assert bench.state(message_id) is state


def test_a_late_answer_settles_what_was_held_by_hand_for_want_of_it(bench):
    bring(bench, State.UNKNOWN)
    bench.ledger.hold(["a"])
    assert bench.record("a", State.SENT)
    assert bench.state("a") is State.SENT


# -- requeue


def fail(bench, results, state=State.PARTIAL):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.UNKNOWN)
    bench.live(35)
    bench.begun("a", token="t2", alone=True)
    bench.record("a", state, token="t2", results=results)


@pytest.mark.parametrize("others", [0, 50], ids=["short", "long"])
def test_a_requeued_message_is_for_its_refused_recipients(bench, others):
    accepted = {f"user{number}@example.com": ACCEPTED for number in range(others + 1)}
    fail(bench, {**accepted, "bob@example.com": REFUSED, "eve@example.com": DEFERRED})
    assert bench.ledger.requeue(["a"]) == ["deferred"]
    assert published(bench.live(1)) == ["a"]
    (grant,) = bench.claim("a", token="t3").granted
    again = Result(Verdict.DEFERRED, REFUSED.reply)
    assert grant.results == {**accepted, "bob@example.com": again, "eve@example.com": DEFERRED}


def test_attempts_crashes_and_age_count_anew(bench):
    bench.calm_down()
    bench.accept("a")
    bench.begun("a")
    bench.live(70)  # a crash, and a lost answer
    bench.begun("a", token="t2", alone=True)
    bench.record("a", State.FAILED, token="t2")
    bench.jump(600_000)
    bench.ledger.requeue(["a"])
    entry = bench.ledger.get("a")
    assert (entry.attempts, entry.crashes, entry.unknowns) == (0, 0, 1)
    assert entry.due_at == pytest.approx(bench.clock.now(), abs=0.01)
    assert bench.event("requeued") == 1
    (task,) = bench.live(1)
    assert not task.alone
    (grant,) = bench.claim("a", token="t3").granted
    assert (grant.attempt, grant.suspect) == (1, False)
    assert grant.since == pytest.approx(bench.clock.now() - 1, abs=1.5)


def test_poison_that_was_requeued_has_three_more_crashes(bench):
    bench.accept("a")
    for number in range(6):
        bench.granted("a", token=f"t{number}", alone=True)
        bench.ledger.free("w:1")
        if number == 2:
            assert bench.state("a") is State.FAILED
            bench.ledger.requeue(["a"])
        bench.live(93)  # CRASH_WAIT at its longest
        assert (bench.state("a") is State.FAILED) == (number == 5)


def test_a_requeued_message_is_not_swept_with_those_that_failed_when_it_did(bench):
    fail(bench, {"bob@example.com": REFUSED}, State.FAILED)
    bench.jump(604_000)
    bench.ledger.requeue(["a"])
    bench.jump(5000)
    bench.tick()
    assert bench.ledger.get("a").envelope == b"env-a"


@pytest.mark.parametrize("state", sorted(set(State) - {State.FAILED, State.PARTIAL}))
def test_only_failed_and_partial_messages_are_requeued(bench, state):
    message_id = bring(bench, state)
    assert bench.ledger.requeue([message_id, "missing"]) == ["refused", "missing"]
    assert bench.state(message_id) is state


def test_a_late_record_of_the_claim_that_failed_changes_nothing(bench):
    fail(bench, {"bob@example.com": REFUSED}, State.FAILED)
    bench.ledger.requeue(["a"])
    assert bench.record("a", State.FAILED, token="t2")
    assert bench.state("a") is State.DEFERRED


# -- resolve


@pytest.mark.parametrize("state", sorted(rules.RESOLUTIONS))
def test_a_lost_answer_is_settled_by_hand(bench, state):
    bring(bench, State.UNKNOWN)
    assert bench.ledger.resolve("a", state, reason="found in the relay's log") is state
    entry = bench.ledger.get("a")
    assert (entry.state, entry.reason, entry.unknowns) == (state, "found in the relay's log", 1)
    assert (entry.envelope is None) == (state is State.SENT)
    assert bench.counts() == {state: 1}
    assert bench.event("resolved") == 1
    assert published(bench.live(1)) == (["a"] if state is State.DEFERRED else [])


def held_for_want_of_an_answer(bench):
    bench.accept("a")
    for number in range(3):
        bench.begun("a", token=f"t{number}")
        bench.record("a", State.UNKNOWN, token=f"t{number}")
        bench.live(35)
    assert bench.state("a") is State.HELD


@pytest.mark.parametrize("state", sorted(rules.RESOLUTIONS - {State.HELD}))
def test_what_is_held_for_want_of_an_answer_is_settled_likewise(bench, state):
    held_for_want_of_an_answer(bench)
    assert bench.ledger.resolve("a", state) is state
    assert bench.event("illegal") == 0


def test_results_may_come_with_it(bench):
    bring(bench, State.UNKNOWN)
    bench.ledger.resolve("a", State.SENT, results={"ann@example.com": ACCEPTED})
    assert bench.ledger.get("a").results == {"ann@example.com": ACCEPTED}


@pytest.mark.parametrize("state", sorted(rules.RESOLUTIONS - {State.DEFERRED, State.HELD}))
def test_what_is_settled_by_hand_is_settled(bench, state):
    bring(bench, State.UNKNOWN)
    bench.ledger.resolve("a", state)
    assert bench.record("a", State.DEFERRED)
    assert bench.state("a") is state


@pytest.mark.parametrize("state", sorted(set(State) - {State.UNKNOWN}))
def test_only_a_lost_answer_is_settled_by_hand(bench, state):
    message_id = bring(bench, state)
    with pytest.raises(IllegalTransition, match=state):
        bench.ledger.resolve(message_id, State.FAILED)
    assert bench.state(message_id) is state


@pytest.mark.parametrize("state", sorted(set(State) - rules.RESOLUTIONS))
def test_a_lost_answer_is_not_settled_in_any_way(bench, state):
    bring(bench, State.UNKNOWN)
    with pytest.raises(IllegalTransition, match=state):
        bench.ledger.resolve("a", state)


def test_what_is_not_there_is_not_settled(bench):
    with pytest.raises(MessageNotFound):
        bench.ledger.resolve("x", State.SENT)


# -- list


def settle(bench, state, lane, relay, *ids):
    for message_id in ids:
        bench.accept(message_id, lane=lane, relay=relay)
        if state is not State.QUEUED:
            bench.begun(message_id, lane=lane, token=message_id)
            bench.record(message_id, state, due_in=1000, token=message_id)
        bench.jump(1)


@pytest.mark.parametrize("state", [State.QUEUED, State.DEFERRED, State.FAILED, State.HELD])
def test_a_list_is_of_one_lane_or_relay_and_goes_on_after_a_page(bench, state):
    settle(bench, state, "bulk", "eu", "b1", "b2")
    settle(bench, state, "default", "", "d1", "d2")
    settle(bench, state, "bulk", "", "b3")
    settle(bench, state, "default", "eu", "d3")
    listed = bench.ledger.list
    by_age, by_lane = ["b1", "b2", "d1", "d2", "b3", "d3"], ["b1", "b2", "b3", "d1", "d2", "d3"]
    assert listed(state) == (by_lane if state is State.QUEUED else by_age)
    assert listed(state, lane="bulk") == ["b1", "b2", "b3"]
    assert listed(state, relay="eu") == ["b1", "b2", "d3"]
    assert sorted(listed(state, relay="")) == ["b3", "d1", "d2"]
    assert listed(state, relay="eu", limit=2) == ["b1", "b2"]
    assert listed(state, lane="default", relay="eu") == ["d3"]
    assert listed(state, lane="urgent") == listed(state, relay="us") == []
    pages, after = [], ""
    while page := listed(state, after=after, limit=2):
        pages += page
        after = page[-1]
    assert pages == listed(state)
    assert listed(state, lane="default", after="b2") == ["d1", "d2", "d3"]
    assert listed(state, relay="eu", after="b2") == ["d3"]


def test_messages_of_one_moment_are_listed_each_once(bench):
    for lane in ("bulk", "default", "urgent"):
        bench.accept(*(f"{lane}{number}" for number in range(7)), lane=lane)
    for state in (State.QUEUED, State.HELD):
        pages, after = [], ""
        while page := bench.ledger.list(state, after=after, limit=4):
            pages += page
            after = page[-1]
        assert len(pages) == len(set(pages)) == 21
        bench.ledger.hold(pages)


def test_a_list_begins_anew_when_the_message_it_should_go_on_after_has_left(bench):
    settle(bench, State.FAILED, "default", "", "a", "b", "c")
    assert bench.ledger.requeue(bench.ledger.list(State.FAILED, limit=2)) == ["deferred"] * 2
    assert bench.ledger.list(State.FAILED, after="b", limit=2) == ["c"]


def test_a_relay_is_found_behind_thousands_of_others(bench, monkeypatch):
    monkeypatch.setattr(rules, "LIST_LOOKS", 20)
    bench.accept(*(f"m{number:03}" for number in range(90)))
    bench.accept("needle", "pin", relay="eu")
    assert bench.ledger.list(State.QUEUED, relay="eu", limit=1) == ["needle"]
    assert bench.ledger.list(State.QUEUED, relay="eu") == ["needle", "pin"]


# -- large parts


@pytest.mark.parametrize("state", [State.HELD, State.FAILED, State.PARTIAL, State.UNKNOWN])
def test_blobs_stay_until_the_record_goes(bench, state):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",), on_unknown="hold")
    bench.begun("a")
    bench.record("a", state)
    bench.jump(604_790)
    bench.tick()
    assert bench.ledger.get_blobs(["h"]) == {"h": b"x"}
    if state in {State.HELD, State.UNKNOWN}:
        bench.ledger.unhold(["a"])
        bench.record("a", State.SENT)
        bench.ledger.cancel(["a"])
    else:
        bench.jump(20)
        bench.tick()
    bench.jump(3590)
    assert bench.ledger.get_blobs(["h"]) == {"h": b"x"}
    bench.jump(20)
    assert bench.ledger.get_blobs(["h"]) == {}


def test_a_requeued_message_keeps_its_blobs(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",))
    bench.begun("a")
    bench.record("a", State.FAILED)
    bench.jump(600_000)
    bench.ledger.requeue(["a"])
    bench.jump(600_000)
    bench.tick()
    assert bench.ledger.get_blobs(["h"]) == {"h": b"x"}


def test_settlements_of_one_call_are_honoured_one_by_one(bench):
    bench.accept("a", "b", "c")
    bench.begun("a", "b", "c")
    bench.ledger.cancel(["a"])
    bench.ledger.hold(["b"])
    bench.ledger.record([Settlement(each, State.DEFERRED, due_in=9) for each in "abc"], "t1")
    assert [bench.state(each) for each in "abc"] == ["cancelled", "held", "deferred"]
