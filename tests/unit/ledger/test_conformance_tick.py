"""Every ledger: the one door, how tasks are packed, how lost ones are found, and what is swept."""

from __future__ import annotations

import itertools

import pytest

from mailqueue.errors import MessageNotFound
from mailqueue.ledger.base import Publication, Settlement, Submission, Ticked
from mailqueue.ledger.states import State


def defer_all(bench, *ids, due_in=0.0, lane="default"):
    """Accepted, claimed, and released again."""
    bench.granted(*ids, token="td", lane=lane)
    bench.ledger.release(ids, "td", due_in=due_in)


def drain(bench, tasks):
    """Claim what tasks carry, as a worker that pops them from the queue."""
    for task in tasks:
        ids = [message_id for message_id, _envelope in task.items]
        bench.claim(*ids, token=f"n{task.number}", lane=task.lane, number=task.number, alone=task.alone)


# -- the one door


def test_a_tick_is_answered_in_full_once_per_half_second(bench):
    bench.tick()
    bench.accept("a")
    defer_all(bench, "a")
    assert bench.ledger.tick() == Ticked()
    bench.jump(0.4)
    assert bench.ledger.tick() == Ticked()
    bench.jump(0.2)
    assert len(bench.ledger.tick().publications) == 1


def test_a_tick_that_has_left_something_due_is_soon_followed_by_another(bench):
    """Or a million messages for nine o'clock, or those that waited for a relay, would take a quarter of an hour."""
    ids = [f"m{number}" for number in range(10)]
    bench.accept(*ids)
    defer_all(bench, *ids)
    bench.jump(1)
    assert [len(task.items) for task in bench.ledger.tick(limit=4).publications] == [4]
    bench.jump(0.05)
    assert bench.ledger.tick(limit=4) == Ticked()
    for published in (4, 2):
        bench.jump(0.1)
        assert [len(task.items) for task in bench.ledger.tick(limit=4).publications] == [published]
    bench.accept("a")
    defer_all(bench, "a")
    bench.jump(0.2)
    assert bench.ledger.tick(limit=4) == Ticked()


def test_while_a_relay_is_in_trouble_the_next_one_takes_its_time(bench):
    """What is due then waits for that relay as a rule, and would only be looked at and put off again."""
    ids = [f"m{number}" for number in range(10)]
    bench.accept(*ids)
    defer_all(bench, *ids)
    bench.ledger.relay_trouble("ses", owner="w", delay=60.0)
    bench.jump(1)
    assert [len(task.items) for task in bench.ledger.tick(limit=4).publications] == [4]
    bench.jump(0.2)
    assert bench.ledger.tick(limit=4) == Ticked()
    bench.ledger.relay_recovered("ses")
    for pause, published in ((0.4, 4), (0.15, 2)):
        bench.jump(pause)
        assert [len(task.items) for task in bench.ledger.tick(limit=4).publications] == [published]


def test_a_login_that_was_refused_slows_nobody_down(bench):
    ids = [f"m{number}" for number in range(6)]
    bench.accept(*ids)
    defer_all(bench, *ids)
    bench.ledger.relay_trouble("ses", owner="w", delay=60.0, latch="f1")
    bench.jump(1)
    for published in (4, 2):
        assert [len(task.items) for task in bench.ledger.tick(limit=4).publications] == [published]
        bench.jump(0.15)


def test_so_is_one_that_has_met_its_limit_of_octets(bench):
    bench.ledger.accept("default", [Submission(each, b"x" * 1_500_000) for each in "ab"])
    defer_all(bench, "a", "b")
    bench.jump(1)
    for _ in "ab":
        assert [len(task.items) for task in bench.ledger.tick().publications] == [1]
        bench.jump(0.15)


def test_a_tick_with_nothing_to_do_finds_nothing(bench):
    bench.live(1)
    bench.jump(1)
    assert bench.ledger.tick() == Ticked()


def test_what_is_due_is_queued_and_published_once_under_a_new_number(bench):
    assert bench.accept("a") == 1
    defer_all(bench, "a", due_in=10)
    assert bench.live(8) == []
    assert bench.live(4) == [Publication("default", 2, (("a", b"env-a"),))]
    assert (bench.state("a"), bench.found["due"]) == (State.QUEUED, 1)
    assert bench.accept("b") == 3
    assert bench.live(10) == []


def test_messages_of_a_lane_share_a_task_and_lanes_do_not(bench):
    bench.accept("a", "b")
    bench.accept("c", lane="bulk")
    defer_all(bench, "a", "b")
    defer_all(bench, "c", lane="bulk")
    tasks = sorted(bench.live(1), key=lambda task: task.lane)
    assert [(task.lane, task.number, [each for each, _ in task.items]) for task in tasks] == [
        ("bulk", 2, ["c"]),
        ("default", 2, ["a", "b"]),
    ]


def test_a_task_takes_up_to_a_hundred_messages(bench):
    ids = [f"m{number:03}" for number in range(250)]
    bench.accept(*ids)
    defer_all(bench, *ids)
    tasks = bench.live(1)
    assert [len(task.items) for task in tasks] == [100, 100, 50]
    assert [task.number for task in tasks] == [2, 3, 4]
    assert [message_id for task in tasks for message_id, _envelope in task.items] == ids


def test_a_task_takes_up_to_256_kilobytes_or_one_message(bench):
    sizes = {"a": 100_000, "b": 100_000, "c": 100_000, "d": 300_000, "e": 10}
    bench.ledger.accept("default", [Submission(each, b"x" * size) for each, size in sizes.items()])
    for each in sizes:
        defer_all(bench, each)
        bench.jump(0.01)
    assert [[each for each, _ in task.items] for task in bench.live(1)] == [["a", "b"], ["c"], ["d"], ["e"]]


def test_a_tick_publishes_no_more_than_its_limit(bench):
    ids = [f"m{number}" for number in range(10)]
    bench.accept(*ids)
    defer_all(bench, *ids)
    assert [len(task.items) for task in bench.ledger.tick(limit=4).publications] == [4]
    assert bench.counts() == {"deferred": 6, "queued": 4}


def test_a_retry_in_one_lane_does_not_wait_behind_thousands_in_another(bench):
    ids = [f"m{number}" for number in range(1000)]
    bench.accept(*ids, lane="bulk")
    defer_all(bench, *ids, lane="bulk")
    bench.jump(1)
    bench.accept("a", lane="urgent")
    defer_all(bench, "a", lane="urgent")
    assert "urgent" in {task.lane for task in bench.ledger.tick(limit=10).publications}


def test_a_tick_publishes_two_megabytes_of_a_lane_at_most(bench):
    bench.ledger.accept("default", [Submission(f"m{number}", b"x" * 750_000) for number in range(5)])
    defer_all(bench, *(f"m{number}" for number in range(5)))
    sizes = []
    for _ in range(3):
        sizes.append(sum(len(task.items) for task in bench.tick()))
        bench.jump(1)
    assert sizes == [2, 2, 1]


def test_a_message_larger_than_a_tick_is_published_all_the_same(bench):
    bench.ledger.accept("default", [Submission("a", b"x" * 5_000_000)])
    defer_all(bench, "a")
    (task,) = bench.tick()
    assert len(task.items[0][1]) == 5_000_000


def test_what_could_not_be_published_is_published_by_a_later_tick(bench):
    bench.accept("a")
    defer_all(bench, "a")
    bench.live(1)
    bench.ledger.unpublished(["a"])
    (task,) = bench.live(4)
    assert task.number == 3


# -- lost tasks


def test_a_lost_task_is_found_once_the_queue_is_popped_beyond_it(bench):
    bench.live(1)
    bench.accept("lost")
    for number in range(2, 6):
        bench.accept(f"m{number}")
        bench.granted(f"m{number}", token=f"t{number}", number=number)
        bench.record(f"m{number}", State.SENT, token=f"t{number}")
    assert bench.live(19) == []
    tasks = [task for task in bench.live(42) if task.items]
    assert [task.items[0][0] for task in tasks] == ["lost"]
    assert bench.found["lost"] == bench.event("lost") == 1
    assert not tasks[0].alone
    assert bench.ledger.get("lost").crashes == 0


def test_one_lost_at_the_end_of_an_idle_lane_is_found_by_a_barrier(bench):
    bench.live(30)
    bench.accept("lost")
    spent = 0
    while bench.event("lost") == 0:
        drain(bench, [task for task in bench.live(1) if not task.items])
        spent += 1
        assert spent < 85
    assert bench.state("lost") is State.QUEUED
    assert [task.items[0][0] for task in bench.published if task.items] == ["lost"]
    assert bench.event("barriers") > 0


def test_a_backlog_is_never_mistaken_for_a_loss(bench):
    ids = [f"m{number:04}" for number in range(5000)]
    for start in range(0, 5000, 20):
        bench.accept(*ids[start : start + 20])  # tasks 1 to 250 of twenty messages each
    lost = 7
    popped = 0
    republished = []
    for _second in range(120):
        bench.clock.moved += 1
        tasks = bench.tick()
        republished += [message_id for task in tasks for message_id, _envelope in task.items]
        if popped < 125:
            popped += 5
            for number in range(popped - 4, popped + 1):
                if number != lost:
                    members = ids[(number - 1) * 20 : number * 20]
                    bench.claim(*members, token=f"t{number}", number=number)
                    bench.ledger.begin(members, f"t{number}")
                    bench.ledger.record([Settlement(each, State.SENT) for each in members], f"t{number}")
    assert sorted(republished) == ids[120:140]
    assert bench.event("lost") == 20
    assert bench.counts() == {"sent": 2480, "queued": 2520}


def test_what_was_just_popped_has_time_to_be_claimed(bench):
    bench.live(30)
    bench.accept("slow")
    bench.accept("fast")
    bench.granted("fast", number=2)  # by another worker, while "slow" is between broker and claim
    bench.live(19)
    assert bench.event("lost") == 0
    assert bench.granted("slow", token="t2", number=1) == ["slow"]


def test_marks_are_shifted_by_claims_alone_as_well(bench):
    bench.accept("lost")
    for number in range(2, 60):
        bench.accept(f"m{number}")
        bench.granted(f"m{number}", token=f"t{number}", number=number)
        bench.jump(1)
    bench.tick()
    assert bench.event("lost") == 1


def test_a_tick_finds_no_more_lost_than_its_limit(bench):
    bench.live(1)
    bench.accept(*(f"m{number}" for number in range(10)))
    bench.claim(number=5)
    bench.live(38)
    bench.jump(3)
    assert bench.ledger.tick(limit=3).found["lost"] == 3
    assert bench.counts()["queued"] == 10


def test_an_outage_begins_the_search_anew(bench):
    bench.live(30)
    bench.accept("slow")
    bench.claim(number=1)
    bench.live(15)
    for _ in range(3):
        bench.jump(600)
        bench.tick()
    assert bench.event("lost") == 0


def test_a_clock_set_back_only_delays_the_search(bench):
    bench.live(30)
    bench.accept("lost")
    bench.claim(number=1)
    bench.jump(-10_000)
    bench.live(65)
    assert bench.event("lost") == 1


def test_numbers_go_on_above_what_is_in_the_queues_of_a_store_that_rolled_back(bench):
    bench.claim(number=500)
    assert bench.event("rolled_back") == 1
    assert bench.accept("a") == 501


# -- barriers


def test_a_quiet_lane_without_queued_messages_has_no_barriers(bench):
    bench.accept("a")
    bench.granted("a", number=1)
    bench.record("a", State.SENT)
    assert bench.live(100) == []
    assert bench.event("barriers") == 0


def test_barriers_of_a_lane_that_nobody_drains_double_their_distance(bench):
    bench.live(1)
    bench.accept("a", lane="bulk")
    bench.live(10)
    at = []
    for second in range(1300):
        tasks = bench.live(1)
        at += [second] * len(tasks)
        assert all((task.lane, task.items) == ("bulk", ()) for task in tasks)
    gaps = [round((later - earlier) / 10) for earlier, later in itertools.pairwise(at)]
    assert gaps == [2, 4, 8, 16, 32, 60]


def test_a_moving_mark_needs_no_barrier(bench):
    bench.accept(*(f"m{number}" for number in range(10)))
    for number in range(1, 60):
        bench.accept(f"n{number}")
        bench.claim(number=number)
        bench.live(2)
    assert bench.event("barriers") == 0


def test_a_barrier_that_is_popped_makes_the_next_one_prompt_again(bench):
    bench.live(1)
    bench.accept("a")
    drained = bench.live(300)
    assert len(drained) == 4
    bench.claim(number=drained[-1].number)
    assert len([task for task in bench.live(45) if not task.items]) == 2


# -- retention


def test_sent_messages_keep_their_status_until_the_retention_ends(bench):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.SENT)
    bench.jump(604_790)
    assert bench.state("a") is State.SENT
    bench.jump(20)
    with pytest.raises(MessageNotFound):
        bench.ledger.get("a")
    assert bench.claim("a", token="t2").missing == ("a",)
    assert bench.counts() == {"sent": 1}


@pytest.mark.parametrize("state", [State.FAILED, State.PARTIAL])
def test_failed_messages_keep_their_envelope_until_they_are_swept(bench, state):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", state)
    bench.jump(604_790)
    bench.tick()
    assert bench.ledger.get("a").envelope == b"env-a"
    bench.jump(20)
    bench.tick()
    with pytest.raises(MessageNotFound):
        bench.ledger.get("a")
    assert bench.ledger.list(state) == []
    assert bench.counts() == {state: 1}
    assert bench.event("swept") == 1


@pytest.mark.parametrize("state", [State.HELD, State.UNKNOWN])
def test_what_waits_for_an_operator_is_kept_for_ever(bench, state):
    bench.accept("a", on_unknown="hold")
    bench.begun("a")
    bench.record("a", state)
    bench.jump(10 * 604_800)
    bench.tick()
    assert bench.state("a") is state
