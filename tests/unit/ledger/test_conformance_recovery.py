"""Every ledger: leases, crashes, lost answers, late answers, poison, and clocks that jump."""

from __future__ import annotations

import threading

import pytest

from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

ACCEPTED = {"ann@example.com": Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok"))}


@pytest.fixture
def live(bench):
    """A ledger whose fleet has been ticking for a while."""
    bench.calm_down()
    return bench


# -- leases


def test_a_lease_that_ends_before_begin_defers_at_no_attempt(live):
    live.accept("a")
    live.granted("a")
    live.live(29)
    assert live.state("a") is State.SENDING
    (task,) = live.live(3)
    assert (task.items, task.alone) == ((("a", b"env-a"),), True)
    entry = live.ledger.get("a")
    assert (entry.state, entry.attempts, entry.crashes, entry.unknowns) == (State.QUEUED, 0, 1, 0)
    assert live.event("expired_leases") == live.found["expired_leases"] == 1
    assert live.event("crashed") == 1
    assert live.ledger.owners("") == []


def test_begin_gives_a_full_lease(live):
    live.accept("a")
    live.granted("a")
    live.live(20)
    live.ledger.begin(["a"], "t1")
    live.live(20)
    assert live.state("a") is State.SENDING


def test_a_worker_that_wakes_up_late_sends_nothing_more(live):
    live.accept("a")
    live.granted("a")
    live.live(32)
    assert live.ledger.begin(["a"], "t1") == [False]
    assert live.granted("a", token="t2", alone=True) == ["a"]
    assert live.ledger.begin(["a"], "t1") == [False]
    assert not live.record("a", State.SENT, token="t1")
    assert live.event("fenced") == 3
    assert live.state("a") is State.SENDING


def test_an_expired_lease_after_begin_is_a_lost_answer(live):
    live.accept("a")
    live.begun("a")
    live.live(32)
    entry = live.ledger.get("a")
    assert (entry.state, entry.attempts, entry.crashes, entry.unknowns) == (State.DEFERRED, 1, 1, 1)
    assert entry.due_at == pytest.approx(live.clock.now() - 2 + 30, abs=2)
    assert live.event("unknown") == live.event("resent") == 1


def test_a_tick_ends_no_more_leases_than_its_limit(live):
    ids = [f"m{number:02}" for number in range(10)]
    live.accept(*ids)
    live.granted(*ids)
    live.live(29)
    live.jump(2)
    live.ledger.tick(limit=4)
    assert live.event("expired_leases") == 4


# -- free


def test_the_claims_of_a_dead_child_are_freed_at_once(bench):
    bench.accept("a", "b", "c", "d")
    bench.granted("a")
    bench.begun("b", token="t2")
    bench.granted("c", token="t3", owner="w:2")
    assert bench.ledger.free("w:1") == 2
    assert [bench.state(each) for each in "abcd"] == ["deferred", "deferred", "sending", "queued"]
    assert bench.ledger.get("b").unknowns == 1
    assert bench.ledger.owners("w:") == ["w:2"]
    assert bench.ledger.free("w:1") == 0
    assert bench.event("crashed") == 2


def test_an_owner_is_freed_by_its_whole_name(bench):
    bench.accept("a")
    bench.granted("a", owner="w:11")
    assert bench.ledger.free("w:1") == 0
    assert bench.ledger.owners("w:1") == ["w:11"]


def test_a_late_record_of_a_freed_claim_still_counts(bench):
    bench.accept("a")
    bench.begun("a")
    bench.ledger.free("w:1")
    assert bench.record("a", State.SENT, results=ACCEPTED)
    assert bench.state("a") is State.SENT


def test_free_and_a_record_at_the_same_moment_agree(bench):
    ids = [f"m{number}" for number in range(30)]
    bench.accept(*ids)
    bench.begun(*ids)
    answers: list[bool] = []

    def record() -> None:
        answers.extend(bench.record(message_id, State.SENT) for message_id in ids)

    threads = [threading.Thread(target=record), threading.Thread(target=bench.ledger.free, args=("w:1",))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 30
    assert bench.counts() == {"sent": 30}


# -- suspects and poison


def crash_alone(bench, message_id, token):
    """The message is published in a task of its own, claimed alone, and its worker dies."""
    (task,) = [task for task in bench.live(1) if task.items]
    assert task.alone
    assert [each for each, _envelope in task.items] == [message_id]
    (grant,) = bench.claim(message_id, token=token, number=task.number, alone=True).granted
    assert grant.suspect
    assert bench.ledger.free("w:1") == 1


def test_suspects_are_published_each_in_a_task_of_its_own(bench):
    bench.accept("a", "b", "c")
    bench.granted("a", "b")
    bench.granted("c", token="t2", owner="w:2")
    bench.ledger.free("w:1")
    bench.ledger.release(["c"], "t2")
    tasks = bench.live(1)
    assert sorted((tuple(each for each, _ in task.items), task.alone) for task in tasks) == [
        (("a",), True),
        (("b",), True),
        (("c",), False),
    ]
    assert len({task.number for task in tasks}) == 3


@pytest.mark.parametrize("alone", [False, True])
def test_a_suspect_in_company_is_put_back_to_be_sent_alone(bench, alone):
    bench.accept("a", "b")
    bench.granted("a")
    bench.ledger.free("w:1")
    bench.live(1)
    claim = bench.claim("a", "b", token="t2", alone=alone)  # more than one is never alone
    assert claim.refused == {"a": "alone"}
    assert [grant.id for grant in claim.granted] == ["b"]
    assert bench.state("a") is State.DEFERRED
    assert bench.event("alone") == 1
    (task,) = bench.live(1)
    assert task.alone


def test_three_crashes_while_alone_are_poison(bench):
    bench.accept("a")
    bench.granted("a")
    bench.ledger.free("w:1")  # in company: makes it a suspect, and does not count
    crash_alone(bench, "a", "t2")
    assert [task for task in bench.live(28) if task.items] == []
    bench.live(1)
    crash_alone(bench, "a", "t3")
    assert bench.state("a") is State.DEFERRED
    assert [task for task in bench.live(88) if task.items] == []
    bench.live(1)
    crash_alone(bench, "a", "t4")
    entry = bench.ledger.get("a")
    assert (entry.state, entry.crashes) == (State.FAILED, 4)
    assert "poison" in entry.reason
    assert entry.envelope == b"env-a"
    assert bench.event("poisoned") == 1


def test_each_crash_alone_makes_a_message_wait_longer(bench):
    """A deployment that crashes every worker must not make poison of all mail before anybody can undo it."""
    bench.accept("a")
    bench.granted("a")
    bench.ledger.free("w:1")
    assert bench.ledger.get("a").due_at == pytest.approx(bench.clock.now(), abs=1)  # its first time alone is at once
    crash_alone(bench, "a", "t2")
    assert bench.ledger.get("a").due_at == pytest.approx(bench.clock.now() + 30, abs=1)
    bench.live(30)
    assert bench.claim("a", token="t3", alone=True).granted
    assert bench.ledger.begin(["a"], "t3") == [True]
    bench.ledger.free("w:1")
    assert bench.ledger.get("a").due_at == pytest.approx(bench.clock.now() + 90, abs=1)
    assert bench.ledger.get("a").unknowns == 1


def test_crashes_in_company_never_count_as_poison(bench):
    bench.accept("a")
    for number in range(5):
        bench.granted("a", token=f"t{number}", alone=number > 0)
        if number:
            bench.ledger.release(["a"], f"t{number}")
        else:
            bench.ledger.free("w:1")
        bench.live(1)
    assert (bench.state("a"), bench.ledger.get("a").crashes) == (State.QUEUED, 1)


def test_poison_whose_last_byte_may_have_gone_out_is_counted_as_unknown_too(bench):
    bench.accept("a")
    for number in range(3):
        bench.begun("a", token=f"t{number}", alone=True)
        bench.ledger.free("w:1")
        bench.live(93)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.unknowns, entry.attempts) == (State.FAILED, 3, 3)
    assert bench.event("unknown") == 3


# -- lost answers


def test_a_lost_answer_is_resent_twice_and_then_held(bench):
    bench.accept("a")
    for number in range(3):
        bench.begun("a", token=f"t{number}")
        assert bench.record("a", State.UNKNOWN, token=f"t{number}", results=ACCEPTED, reason="link dropped")
        entry = bench.ledger.get("a")
        assert (entry.attempts, entry.unknowns, entry.results) == (number + 1, number + 1, ACCEPTED)
        if number < 2:
            assert (entry.state, entry.reason) == (State.DEFERRED, "link dropped")
            assert entry.due_at == pytest.approx(bench.clock.now() + 30, abs=1)
            assert len(bench.live(28)) == 0
            assert len(bench.live(3)) == 1
    assert entry.state is State.HELD
    assert "held" in entry.reason
    assert (bench.event("unknown"), bench.event("resent")) == (3, 2)
    assert bench.ledger.list(State.HELD) == ["a"]


def test_a_resend_may_be_put_off_for_longer(bench):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.UNKNOWN, due_in=300)
    assert bench.ledger.get("a").due_at == pytest.approx(bench.clock.now() + 300, abs=1)


def test_with_hold_a_lost_answer_rests_in_unknown(live):
    live.accept("a", on_unknown="hold")
    live.begun("a")
    live.live(200)
    entry = live.ledger.get("a")
    assert (entry.state, entry.unknowns, entry.attempts) == (State.UNKNOWN, 1, 1)
    assert live.ledger.list(State.UNKNOWN) == ["a"]
    assert live.event("resent") == 0
    assert live.claim("a", token="t2").refused == {"a": "unknown"}


def test_a_lost_answer_reported_twice_counts_once(bench):
    bench.accept("a")
    bench.begun("a")
    for _ in range(2):
        assert bench.record("a", State.UNKNOWN)
    assert bench.event("unknown") == 1
    assert bench.ledger.get("a").attempts == 1


def test_a_lost_answer_that_the_ledger_found_first_counts_once(live):
    live.accept("a")
    live.begun("a")
    live.live(32)
    assert live.record("a", State.UNKNOWN)
    assert live.event("unknown") == 1


# -- late answers


def lose_the_answer(bench, message_id, then):
    """The lease of a begun message ends; ``then`` is the state in which its late answer finds it."""
    bench.accept(message_id, on_unknown="hold" if then is State.UNKNOWN else "resend")
    bench.begun(message_id)
    bench.ledger.free("w:1")
    if then is State.QUEUED:
        bench.live(33)
    assert bench.state(message_id) is then


@pytest.mark.parametrize("then", [State.UNKNOWN, State.DEFERRED, State.QUEUED])
@pytest.mark.parametrize("answer", [State.SENT, State.PARTIAL, State.FAILED, State.DEFERRED])
def test_a_late_answer_under_the_standing_fence_settles(bench, then, answer):
    lose_the_answer(bench, "a", then)
    assert bench.record("a", answer, results=ACCEPTED, due_in=600)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.attempts, entry.unknowns, entry.results) == (answer, 1, 1, ACCEPTED)
    assert bench.counts() == {answer: 1}
    assert bench.event("late") == 1
    assert bench.live(60) == []
    refused = bench.claim("a", token="t2", alone=True).refused
    assert refused == {"a": answer}


def test_a_late_answer_settles_what_was_held_for_want_of_it(bench):
    bench.accept("a")
    for number in range(3):
        bench.begun("a", token=f"t{number}")
        bench.record("a", State.UNKNOWN, token=f"t{number}")
        bench.live(31)
    assert bench.state("a") is State.HELD
    assert bench.record("a", State.SENT, token="t2", results=ACCEPTED)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.attempts) == (State.SENT, 3)
    assert bench.ledger.list(State.HELD) == []


def test_a_late_answer_of_a_claim_that_never_was_begun_charges_its_attempt(live):
    live.accept("a")
    live.granted("a")
    live.live(32)
    assert live.record("a", State.SENT)
    assert live.ledger.get("a").attempts == 1


def test_late_news_of_a_lost_answer_follows_the_policy(live):
    live.accept("a")
    live.granted("a")
    live.live(32)
    assert live.record("a", State.UNKNOWN)
    entry = live.ledger.get("a")
    assert (entry.state, entry.unknowns, entry.attempts) == (State.DEFERRED, 1, 1)
    assert live.live(25) == []


def test_late_progress_is_saved_and_settles_nothing(bench):
    lose_the_answer(bench, "a", State.DEFERRED)
    assert bench.record("a", State.SENDING, results=ACCEPTED)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.results) == (State.DEFERRED, ACCEPTED)
    assert bench.ledger.begin(["a"], "t1") == [False]


def test_a_late_answer_of_a_message_given_up_is_kept_for_the_operator(bench):
    bench.accept("a")
    for number in range(3):
        bench.begun("a", token=f"t{number}", alone=True)
        bench.ledger.free("w:1")
        bench.live(93)
    assert bench.state("a") is State.FAILED
    assert bench.record("a", State.SENT, token="t2", results=ACCEPTED)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.results) == (State.FAILED, ACCEPTED)


def test_a_late_answer_after_another_claim_is_refused_and_counted(bench):
    lose_the_answer(bench, "a", State.QUEUED)
    assert bench.granted("a", token="t2", alone=True) == ["a"]
    assert not bench.record("a", State.SENT)
    assert bench.event("fenced") == 1
    assert bench.ledger.get("a").results == {}


def test_late_news_that_nothing_was_written_ends_the_doubt(live):
    live.accept("a", on_unknown="hold")
    live.begun("a")
    live.live(32)
    assert live.state("a") is State.UNKNOWN
    live.ledger.unbegin(["a"], "t1")
    assert live.state("a") is State.DEFERRED
    assert len(live.live(1)) == 1


def test_settlements_of_a_batch_may_find_some_claims_over(live):
    live.accept("a", "b")
    live.begun("a", "b")
    live.live(20)
    live.ledger.renew(["b"], "t1")
    live.live(12)
    settlements = [Settlement("a", State.SENT), Settlement("b", State.SENT)]
    assert live.ledger.record(settlements, "t1") == [True, True]
    assert live.counts() == {"sent": 2}
    assert live.event("late") == 1


# -- outages, and clocks that jump


def test_no_lease_expires_for_one_lease_after_an_outage(live):
    live.accept("a")
    live.begun("a")
    live.jump(40)
    live.live(29)
    assert live.state("a") is State.SENDING
    assert live.event("outages") == 1
    live.live(3)
    assert live.state("a") is State.DEFERRED


def test_a_worker_that_was_cut_off_may_record_after_the_outage(live):
    live.accept("a")
    live.begun("a")
    live.jump(3600)
    live.tick()
    assert live.record("a", State.SENT)
    assert live.event("late") == 0


def test_a_short_pause_between_ticks_is_no_outage(live):
    live.accept("a")
    live.begun("a")
    live.live(26)
    live.jump(4.9)
    live.tick()
    assert live.state("a") is State.DEFERRED


def test_ticks_that_are_always_seldom_still_end_leases(bench):
    bench.accept("a")
    bench.live(60, step=10)
    bench.begun("a")
    bench.live(60, step=10)
    assert bench.event("expired_leases") == 1


def test_the_first_tick_of_a_ledger_expires_nothing(bench):
    bench.accept("a")
    bench.begun("a")
    bench.jump(100)
    bench.tick()
    assert bench.state("a") is State.SENDING
    assert bench.event("outages") == 0


def test_a_clock_set_back_cuts_leases_to_one_from_now(live):
    live.accept("a")
    live.begun("a")
    live.jump(-7200)
    live.live(29)
    assert live.state("a") is State.SENDING
    live.live(4)
    assert live.state("a") is State.DEFERRED


def test_a_clock_set_back_stops_no_tick(live):
    live.accept("a")
    live.granted("a")
    live.ledger.release(["a"], "t1")
    live.jump(-3600)
    live.ledger.tick()
    live.accept("b")
    live.granted("b")
    live.ledger.release(["b"], "t1")
    assert [task.items[0][0] for task in live.live(1)] == ["b"]


def test_a_clock_set_forward_expires_nothing_at_once(live):
    live.accept("a")
    live.begun("a")
    live.jump(86400)
    live.live(20)
    assert live.ledger.renew(["a"], "t1") == [True]
    live.live(20)
    assert live.state("a") is State.SENDING


# -- crowds


def test_poison_among_good_neighbours_harms_only_itself(live):
    ids = [f"m{number}" for number in range(20)]
    live.accept(*ids)
    killers = {"m7", "m13"}
    tasks = [(tuple(ids), False)]
    deaths = 0
    for round_ in range(60):
        for number, (members, alone) in enumerate(tasks):
            token = f"r{round_}n{number}"
            for message_id in live.granted(*members, token=token, alone=alone):
                live.ledger.begin([message_id], token)
                if message_id in killers:
                    deaths += 1
                    live.ledger.free("w:1")
                    break
                assert live.record(message_id, State.SENT, token=token)
        tasks = [(tuple(each for each, _ in task.items), task.alone) for task in live.live(3) if task.items]
    assert {each for each in ids if live.state(each) is State.FAILED} | {
        each for each in ids if live.state(each) is State.HELD
    } == killers
    assert live.counts()["sent"] == 18
    assert deaths <= 2 * 4


def test_an_outage_longer_than_a_lease_costs_no_message_a_crash(live):
    live.accept("a", "b", "c")
    live.granted("a", "b", "c")
    live.ledger.begin(["a", "b"], "t1")
    live.jump(3600)  # during which neither workers nor ticks reach the store
    live.tick()
    assert live.record("a", State.SENT)
    assert live.ledger.begin(["c"], "t1") == [True]
    assert live.ledger.renew(["b"], "t1") == [True]
    live.live(25)
    assert [live.state(each) for each in "abc"] == ["sent", "sending", "sending"]
    assert live.event("crashed") == 0
    live.live(10)  # the worker has died meanwhile
    assert [live.ledger.get(each).unknowns for each in "abc"] == [0, 1, 1]


@pytest.mark.parametrize("jump", [-2000, -3, 3, 100_000])
def test_wherever_the_clock_jumps_all_is_sent_once(live, jump):
    ids = [f"m{number}" for number in range(30)]
    live.accept(*ids[:10])
    live.accept(*ids[10:20], send_at=live.clock.now() + 5)
    live.accept(*ids[20:])
    live.granted(*ids[20:], token="td")
    live.ledger.release(ids[20:], "td", due_in=5)
    live.granted(*ids[:5])
    live.jump(jump)
    live.ledger.begin(ids[:5], "t1")
    for message_id in ids[:5]:
        assert live.record(message_id, State.SENT)
    live.granted(*ids[5:10], token="t2", number=9)
    first = len(live.published)
    live.live(max(0, -jump) + 30)
    for message_id in ids[5:10]:
        live.ledger.begin([message_id], "t2")
        live.record(message_id, State.SENT, token="t2")
    for task in live.published[first:]:
        for message_id, _envelope in task.items:
            if live.granted(message_id, token=f"n{task.number}", number=task.number, alone=task.alone):
                live.ledger.begin([message_id], f"n{task.number}")
                live.record(message_id, State.SENT, token=f"n{task.number}")
    live.live(60)
    assert live.counts() == {"sent": 30}
    assert live.event("unknown") == 0
