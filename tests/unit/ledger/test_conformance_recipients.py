"""Every ledger: a campaign's recipients as messages, and the short records that they leave."""

from __future__ import annotations

import pytest

from mailqueue.errors import CampaignNotFound, IllegalTransition, MessageNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.base import Settlement, Submission
from mailqueue.ledger.campaigns import message_of
from mailqueue.ledger.states import FINAL, State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

RETENTION = 604800.0
GRACE = 60.0  # two leases
A, B, C = "Aaaaaaaaaaaa", "Bbbbbbbbbbbb", "-ccccccccccc"
ACCEPTED = {"ann@example.com": Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok: queued as 4XyZ"))}
REFUSED = {"ann@example.com": Result(Verdict.REFUSED, Reply(550, "5.1.1 no such user"))}


@pytest.fixture
def campaigns(bench):
    return bench.ledger.campaigns


def accepted(bench, *ids, **options):
    answer = bench.ledger.accept("default", [Submission(each, b"e") for each in ids], **options)
    return [(each.new, each.state) for each in answer.accepted]


def recipient(bench, digest=A):
    [told] = bench.ledger.campaigns.recipients("news", [digest])
    return told.state, told.reply


# -- accepted


def test_a_recipient_becomes_one_message(bench):
    (message,) = bench.campaign(A)
    assert accepted(bench, message, message) == [(True, State.QUEUED), (False, State.QUEUED)]
    assert accepted(bench, message) == [(False, State.QUEUED)]
    assert bench.tallies() == {"queued": 1}
    assert recipient(bench) == ("queued", "")


def test_whoever_is_no_recipient_becomes_none(bench):
    bench.campaign(A)
    strangers = [message_of("news", B), message_of("other", A)]
    assert accepted(bench, *strangers) == [(False, State.CANCELLED)] * 2
    assert bench.counts() == {}
    with pytest.raises(MessageNotFound):
        bench.ledger.get(strangers[0])


def test_nobody_becomes_one_once_it_was_withdrawn(bench, campaigns):
    (message,) = bench.campaign(A)
    campaigns.cancel("news")
    assert accepted(bench, message) == [(False, State.CANCELLED)]
    assert accepted(bench, message, restored=True) == [(False, State.CANCELLED)]
    assert bench.tallies() == {"cancelled": 1}


def test_nobody_becomes_one_when_it_is_past_its_time(bench):
    (message,) = bench.campaign(A, expires_at=bench.clock.now() + 5)
    bench.jump(5)
    assert accepted(bench, message) == [(False, State.EXPIRED)]


def test_while_a_blob_is_lacking_nothing_is_counted(bench):
    (message,) = bench.campaign(A)
    assert bench.ledger.accept("default", [Submission(message, b"e", blobs=("h",))]).lacking == ("h",)
    assert bench.tallies() == {"waiting": 1}


def test_scheduled_ones_are_counted_as_that(bench):
    (message,) = bench.campaign(A)
    bench.accept(message, send_at=bench.clock.now() + 5)
    assert bench.tallies() == {"scheduled": 1}
    bench.jump(5)
    bench.tick()
    assert bench.tallies() == {"queued": 1}


@pytest.mark.parametrize("state", [State.SENT, State.FAILED, State.CANCELLED])
def test_whoever_has_had_it_does_not_get_it_again(bench, state):
    (message,) = bench.fed(A)
    bench.settled(message, state)
    for _ in range(2):  # in its grace, and when only the short record is left
        assert accepted(bench, message) == [(False, state)]
        assert accepted(bench, message, restored=True) == [(False, state)]
        assert bench.claim(message, token="t2").refused == {message: state}
        bench.jump(GRACE)
    assert bench.counts() == {state: 1}


# -- paused


def pause(bench, how):
    if how == "paused":
        bench.ledger.campaigns.pause("news")
    else:
        bench.ledger.campaigns.set_open_until("news", bench.clock.now())


def go_on(bench):
    bench.ledger.campaigns.set_open_until("news", 0.0)
    bench.ledger.campaigns.resume("news")


@pytest.mark.parametrize("how", ["paused", "closed"])
def test_what_meets_a_pause_is_set_aside_and_goes_on_with_it(bench, campaigns, how):
    first, second = bench.fed(A, B)
    bench.claim(first)
    pause(bench, how)
    assert bench.ledger.begin([first], "t1") == [False]
    assert bench.ledger.begin([first], "t1") == [False]
    assert bench.claim(second).refused == {second: State.HELD}
    assert bench.event("fenced") == 0
    assert campaigns.get("news").parked == 2
    assert bench.tallies() == {"held": 2}
    assert bench.ledger.get(first).reason == "its campaign is paused"
    assert campaigns.unpark("news") == 0
    bench.jump(50)
    go_on(bench)
    assert campaigns.unpark("news", 1) == 1
    assert campaigns.unpark("news") == 1
    assert campaigns.unpark("news") == 0
    [task] = bench.tick()
    assert [each for each, _ in task.items] == [first, second]
    assert [grant.since for grant in bench.claim(first, second).granted] == [bench.clock.now()] * 2


def test_what_is_begun_ends_as_the_relay_says(bench, campaigns):
    (message,) = bench.fed(A)
    bench.begun(message)
    campaigns.pause("news")
    assert bench.record(message, State.SENT, results=ACCEPTED)
    assert bench.tallies() == {"sent": 1}


def test_other_mail_goes_out_meanwhile(bench, campaigns):
    (message,) = bench.fed(A)
    bench.accept("a")
    campaigns.pause("news")
    assert bench.granted("a", message) == ["a"]


def test_what_an_operator_holds_stays_when_it_goes_on(bench, campaigns):
    first, second, third = bench.fed(A, B, C)
    assert bench.ledger.hold([first], "look") == ["held"]
    campaigns.pause("news")
    bench.claim(second, third)
    assert bench.ledger.hold([second], "look") == ["held"]
    assert bench.ledger.get(second).reason == "look"
    campaigns.resume("news")
    assert campaigns.unpark("news") == 1
    assert [bench.state(each) for each in (first, second, third)] == [State.HELD, State.HELD, State.DEFERRED]
    assert bench.ledger.unhold([first, second]) == ["deferred"] * 2


def test_an_operator_can_let_a_parked_one_go_or_withdraw_it(bench, campaigns):
    first, second = bench.fed(A, B)
    campaigns.pause("news")
    bench.claim(first, second)
    assert bench.ledger.unhold([first]) == ["deferred"]
    assert bench.ledger.cancel([second]) == ["cancelled"]
    assert campaigns.get("news").parked == 0
    bench.tick()
    assert bench.claim(first).refused == {first: State.HELD}  # its campaign still stands still


@pytest.mark.parametrize("state", [State.CANCELLED, State.EXPIRED])
def test_what_is_under_way_ends_with_its_campaign(bench, campaigns, state):
    ids = bench.fed(A, B, C, expires_at=bench.clock.now() + 60)
    first, second, third = ids
    bench.claim(first)
    campaigns.pause("news")
    bench.claim(second)
    if state is State.CANCELLED:
        campaigns.cancel("news")
    else:
        bench.jump(60)
    live = [(each.id, each.parked) for each in campaigns.live()]
    assert live == [("news", 1)]
    assert bench.ledger.begin([first], "t1") == [False]
    assert bench.claim(third).refused == {third: state}
    assert campaigns.unpark("news") == 1
    assert campaigns.live() == []
    assert bench.tallies() == {state: 3}
    assert bench.event("fenced") == 0
    assert [bench.state(each) for each in ids] == [state] * 3


# -- ended


@pytest.mark.parametrize(
    ("state", "results", "kept"),
    [
        (State.SENT, ACCEPTED, "250 2.0.0 Ok: queued as 4XyZ"),
        (State.FAILED, REFUSED, "550 5.1.1 no such user"),
        (State.PARTIAL, ACCEPTED | {"bob@example.com": REFUSED["ann@example.com"]}, "550 5.1.1 no such user"),
        (State.FAILED, {}, "gave up"),
    ],
)
def test_a_short_record_tells_how_it_ended(bench, state, results, kept):
    (message,) = bench.fed(A)
    bench.settled(message, state, results=results, reason="gave up")
    assert bench.ledger.get(message).results == results
    assert bench.ledger.get(message).envelope is None
    for _ in range(2):
        assert recipient(bench) == (state, kept)
        assert bench.ledger.list(State.FAILED) == bench.ledger.list(State.PARTIAL) == []
        bench.jump(GRACE)
        bench.tick()
    entry = bench.ledger.get(message)
    assert (entry.id, entry.state, entry.lane, entry.reason) == (message, state, "default", kept)
    assert (entry.results, entry.envelope, entry.accepted_at) == ({}, None, 0.0)
    assert bench.tallies() == bench.counts() == {state: 1}


def test_whoever_is_refused_for_now_is_told_with_the_reply(bench):
    (message,) = bench.fed(A)
    later = {"ann@example.com": Result(Verdict.DEFERRED, Reply(450, "4.2.1 the mailbox is busy"))}
    bench.settled(message, State.DEFERRED, results=later, reason="450 4.2.1", due_in=60)
    assert recipient(bench) == ("deferred", "450 4.2.1 the mailbox is busy")
    assert bench.ledger.get(message).results == later


def test_one_that_is_only_put_off_keeps_the_reason(bench):
    (message,) = bench.fed(A)
    bench.claim(message)
    bench.ledger.release([message], "t1", due_in=60, reason="waits for a limit")
    assert recipient(bench) == ("deferred", "waits for a limit")


def test_those_of_the_deferred_that_were_tried_are_told_apart(bench, campaigns):
    def deferred():
        entry = campaigns.get("news")
        return entry.counts.get("deferred", 0), entry.retried

    first, second = bench.fed(A, B)
    bench.claim(first, second)
    bench.ledger.release([second], "t1", due_in=60, reason="waits for a limit")
    assert deferred() == (1, 0)
    bench.ledger.begin([first], "t1")
    bench.record(first, State.DEFERRED, due_in=60)
    assert deferred() == (2, 1)
    bench.record(second, State.DEFERRED, due_in=60)  # late, under the fence that stands
    assert deferred() == (2, 2)
    bench.jump(60)
    bench.tick()
    assert deferred() == (0, 0)
    bench.claim(first, second, token="t2")
    bench.ledger.release([first, second], "t2", due_in=60)
    assert deferred() == (2, 2)
    bench.ledger.cancel([first])
    assert deferred() == (1, 1)


@pytest.mark.parametrize("text", ["x" * 200, "é" * 40, "€" * 30, "x" + "€" * 30, "xx" + "𝄞" * 30, "two\nlines"])
def test_a_long_reply_is_shortened(bench, text):
    (message,) = bench.fed(A)
    results = {"ann@example.com": Result(Verdict.REFUSED, Reply(550, text))}
    bench.settled(message, State.FAILED, results=results)
    state, reply = recipient(bench)
    assert state == "failed"
    assert len(reply.encode()) <= rules.KEPT_OCTETS
    assert " ".join(f"550 {text}".split()).startswith(reply.removesuffix("…"))


@pytest.mark.parametrize("reason", ["x" * 64, "é" * 32, "€" * 21, "x" + "€" * 21, "𝄞" * 16])
def test_so_is_a_long_reason(bench, reason):
    (message,) = bench.fed(A)
    bench.settled(message, State.FAILED, reason=reason)
    _, reply = recipient(bench)
    assert len(reply.encode()) <= rules.KEPT_OCTETS
    assert reply == rules.short(reason, rules.KEPT_OCTETS)


def test_a_suppressed_address_is_cancelled_and_told_apart(bench, campaigns):
    first, second = bench.fed(A, B)
    bench.claim(first, second)
    reason = "suppressed: unsubscribed"
    answer = bench.ledger.record([Settlement(first, State.CANCELLED, reason=reason)], "t1")
    assert answer == [True]
    bench.ledger.cancel([second])
    assert bench.tallies() == {"suppressed": 1, "cancelled": 1}
    assert bench.counts() == {"cancelled": 2}
    assert (recipient(bench, A), recipient(bench, B)) == (("suppressed", reason), ("cancelled", "withdrawn"))
    bench.jump(GRACE)
    entry = bench.ledger.get(first)
    assert (entry.state, entry.reason) == (State.CANCELLED, reason)


def test_an_attempt_at_ordinary_mail_may_end_as_cancelled(bench):
    bench.accept("a")
    bench.claim("a")
    assert bench.record("a", State.CANCELLED, reason="suppressed: unsubscribed")
    assert (bench.state("a"), bench.ledger.get("a").attempts) == (State.CANCELLED, 0)
    assert bench.ledger.begin(["a"], "t1") == [False]


def test_a_worker_that_lost_its_answer_is_told_again(bench):
    (message,) = bench.fed(A)
    bench.settled(message, State.SENT, results=ACCEPTED)
    for _ in range(3):
        assert bench.record(message, State.SENT, results=ACCEPTED)
        assert bench.event("fenced") == 0
        bench.jump(GRACE / 2)
    assert not bench.record(message_of("news", B), State.SENT)
    assert bench.event("fenced") == 1


def test_in_its_grace_another_workers_record_is_refused(bench):
    (message,) = bench.fed(A)
    bench.settled(message, State.SENT)
    assert not bench.record(message, State.FAILED, token="t2")
    assert bench.tallies() == {"sent": 1}


@pytest.mark.parametrize("how", ["poison", "expired", "resolved", "late"])
def test_whatever_ends_it_is_told(bench, how):
    (message,) = bench.campaign(A)
    expires_at = bench.clock.now() + 20 if how == "expired" else 0.0
    bench.accept(message, on_unknown="hold" if how in {"resolved", "late"} else "resend", expires_at=expires_at)
    if how == "poison":
        for token in ("t1", "t2", "t3"):
            bench.claim(message, token=token, alone=True)
            bench.ledger.free("w:1")
            bench.live(100)
        wanted = ("failed", rules.REASON_POISON)
    elif how == "expired":
        bench.live(21)
        wanted = ("expired", rules.REASON_EXPIRED)
    else:
        bench.begun(message)
        bench.ledger.free("w:1")
        assert recipient(bench) == ("unknown", rules.REASON_ANSWER_LOST)
        if how == "resolved":
            bench.ledger.resolve(message, State.SENT, reason="it is in the relay's log")
            wanted = ("sent", "it is in the relay's log")
        else:
            bench.record(message, State.SENT, results=ACCEPTED)
            wanted = ("sent", "250 2.0.0 Ok: queued as 4XyZ")
    bench.jump(GRACE)
    assert recipient(bench) == wanted
    assert bench.tallies() == {wanted[0]: 1}


@pytest.mark.parametrize("state", sorted(FINAL - {State.EXPIRED}))
@pytest.mark.parametrize("later", [0.0, GRACE])
def test_nothing_can_be_done_by_hand_to_what_has_ended(bench, state, later):
    (message,) = bench.fed(A)
    bench.settled(message, state)
    bench.jump(later)
    assert bench.ledger.cancel([message]) == ["cancelled" if state is State.CANCELLED else "late"]
    assert bench.ledger.hold([message]) == ["late"]
    assert bench.ledger.unhold([message]) == ["refused"]
    assert bench.ledger.requeue([message]) == ["refused"]
    with pytest.raises(IllegalTransition, match=str(state)):
        bench.ledger.resolve(message, State.HELD)
    assert bench.tallies() == {state: 1}


def test_whoever_waits_is_no_message_yet(bench):
    (message,) = bench.campaign(A)
    assert bench.ledger.cancel([message]) == ["missing"]
    with pytest.raises(MessageNotFound):
        bench.ledger.get(message)


# -- a store that lost some


def test_one_whose_record_was_lost_is_accepted_again(bench):
    (message,) = bench.campaign(A)
    assert bench.claim(message).missing == (message,)
    assert accepted(bench, message, restored=True) == [(True, State.QUEUED)]
    assert bench.tallies() == {"queued": 1}


@pytest.mark.parametrize("state", [None, State.SENT, State.FAILED])
def test_one_whose_campaign_was_lost_is_a_message_of_its_own_until_that_is_made_again(bench, campaigns, state):
    message = message_of("news", A)
    assert accepted(bench, message, restored=True) == [(True, State.QUEUED)]
    if state:
        bench.settled(message, state)
        bench.jump(RETENTION / 2)
        assert bench.state(message) is state
    with pytest.raises(CampaignNotFound):
        campaigns.get("news")
    bench.campaign(A)
    assert bench.tallies() == {"waiting": 1}
    assert accepted(bench, message) == [(False, state or State.QUEUED)]
    assert bench.tallies() == {state or "queued": 1}
    if state is None:
        bench.settled(message, State.SENT)
    assert campaigns.finish("news")
    assert campaigns.retry("news", [A], b"again") == (() if state is State.FAILED else (A,))
    if state is State.FAILED:
        assert accepted(bench, message) == [(True, State.QUEUED)]
        assert bench.ledger.list(State.FAILED) == []
    assert sum(bench.tallies().values()) == 1
