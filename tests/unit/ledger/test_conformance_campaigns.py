"""Every ledger: the life of a campaign, from its first chunk until nothing is left of it."""

from __future__ import annotations

import pytest

from mailqueue.errors import CampaignConflict, CampaignNotFound, IllegalTransition, MessageNotFound
from mailqueue.ledger.campaigns import CAMPAIGN_TRANSITIONS, CampaignState, message_of, width_for
from mailqueue.ledger.states import State

LEASE = 30.0
RETENTION = 604800.0
A, B, C, D = "Aaaaaaaaaaaa", "Bbbbbbbbbbbb", "-ccccccccccc", "_ddddddddddd"


@pytest.fixture
def campaigns(bench):
    return bench.ledger.campaigns


def reach(bench, state):
    """A campaign in ``state``."""
    start_at = bench.clock.now() + 100 if state is CampaignState.SCHEDULED else 0.0
    if state is CampaignState.LOADING:
        bench.ledger.campaigns.create("news", b"spec")
        return
    bench.campaign(start_at=start_at, expires_at=bench.clock.now() + 1000)
    if state is CampaignState.PAUSED:
        bench.ledger.campaigns.pause("news")
    elif state is CampaignState.FINISHED:
        assert bench.ledger.campaigns.finish("news")
    elif state is CampaignState.CANCELLED:
        bench.ledger.campaigns.cancel("news")
    elif state is CampaignState.EXPIRED:
        bench.jump(1000)
        bench.ledger.campaigns.live()
    assert bench.ledger.campaigns.get("news").state is state


# -- loading


def test_what_was_made_can_be_read(bench, campaigns):
    now = bench.clock.now()
    creation = campaigns.create("news", b"spec", lane="urgent", start_at=now + 5, expires_at=now + 50)
    assert (creation.new, creation.state, creation.lacking) == (True, CampaignState.LOADING, ())
    entry = campaigns.get("news")
    assert (entry.id, entry.spec, entry.lane, entry.total, entry.chunks) == ("news", b"spec", "urgent", 0, 0)
    assert (entry.created_at, entry.start_at, entry.expires_at) == (now, now + 5, now + 50)
    assert (entry.counts, entry.queues, entry.parked, entry.now) == ({}, (), 0, now)


def test_the_same_spec_again_changes_nothing_and_another_is_a_conflict(bench, campaigns):
    bench.campaign(A)
    again = campaigns.create("news", b"spec", lane="urgent")
    assert (again.new, again.state) == (False, CampaignState.RUNNING)
    assert campaigns.get("news").lane == "default"
    with pytest.raises(CampaignConflict, match="news"):
        campaigns.create("news", b"another")


def test_its_blobs_stay_for_as_long_as_it_does(bench, campaigns):
    assert campaigns.create("news", b"spec", blobs=("h",)).lacking == ("h",)
    with pytest.raises(CampaignNotFound):
        campaigns.get("news")
    bench.ledger.put_blobs({"h": b"pdf"})
    assert campaigns.create("news", b"spec", blobs=("h",), width=0).new
    bench.jump(100 * RETENTION)
    assert bench.ledger.get_blobs(["h"]) == {"h": b"pdf"}
    campaigns.cancel("news")
    bench.jump(RETENTION)
    assert campaigns.sweep()
    assert bench.ledger.get_blobs(["h"]) == {"h": b"pdf"}
    bench.jump(3601)
    assert bench.ledger.get_blobs(["h"]) == {}


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_chunks_are_numbered_and_their_recipients_counted(campaigns, width):
    campaigns.create("news", b"spec", width=width)
    assert campaigns.add("news", [A, B], b"one").number == 1
    assert campaigns.add("news", [C], b"two").number == 2
    entry = campaigns.get("news")
    assert (entry.total, entry.chunks, entry.counts, entry.queues) == (3, 2, {"waiting": 3}, ("",))
    assert [campaigns.chunk("news", number) for number in (1, 2, 3)] == [b"one", b"two", b""]
    told = campaigns.recipients("news", [A, C, D])
    assert [(each.digest, each.state, each.reply) for each in told] == [(A, "waiting", ""), (C, "waiting", "")]


def test_a_chunk_with_known_recipients_is_not_added(campaigns):
    campaigns.create("news", b"spec")
    campaigns.add("news", [A, B], b"one")
    answer = campaigns.add("news", [C, B, A], b"two")
    assert (set(answer.known), campaigns.get("news").total) == ({A, B}, 2)
    assert campaigns.recipients("news", [C]) == []


def test_a_chunk_whose_answer_was_lost_can_be_added_again(campaigns):
    campaigns.create("news", b"spec")
    for _ in range(2):
        assert campaigns.add("news", [A, B], b"one").number == 1
    assert campaigns.add("news", [A, B], b"other").known == (A, B)
    assert campaigns.get("news").total == 2


def test_a_digest_twice_in_one_chunk_is_an_error_that_says_so(bench, campaigns):
    campaigns.create("news", b"spec")
    with pytest.raises(ValueError, match="twice"):
        campaigns.add("news", [A, A], b"one")


def test_recipients_come_in_while_it_is_loading_only(bench, campaigns):
    with pytest.raises(CampaignNotFound, match="news"):
        campaigns.add("news", [A], b"one")
    bench.campaign(A)
    with pytest.raises(IllegalTransition, match=r"running.*loading"):
        campaigns.add("news", [B], b"two")


@pytest.mark.parametrize(
    ("recipients", "width"),
    [(0, 2), (1, 0), (250, 0), (251, 1), (16_000, 1), (16_001, 2), (1_000_000, 2), (2_000_000, 3)],
)
def test_the_index_is_divided_by_how_many_there_are(recipients, width):
    assert width_for(recipients) == width


# -- states


@pytest.mark.parametrize("state", CampaignState)
@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel"])
def test_it_is_turned_as_the_table_says(bench, campaigns, state, verb):
    reach(bench, state)
    running = CampaignState.SCHEDULED if state is CampaignState.SCHEDULED else CampaignState.RUNNING
    wanted = {"pause": CampaignState.PAUSED, "cancel": CampaignState.CANCELLED}.get(verb, running)
    allowed = wanted is state or wanted in CAMPAIGN_TRANSITIONS[state]
    if verb == "start":  # it tells the state, should the first answer have been lost
        wanted = wanted if state is CampaignState.LOADING else state
        allowed = state is not CampaignState.CANCELLED
    if verb == "resume":  # nothing else was paused
        allowed = state in {CampaignState.PAUSED, CampaignState.RUNNING, CampaignState.SCHEDULED}
    turn = getattr(campaigns, verb)
    if allowed:
        assert turn("news") is wanted
        assert turn("news") is wanted
        assert campaigns.get("news").state is wanted
    else:
        with pytest.raises(IllegalTransition, match=str(state)):
            turn("news")
        assert campaigns.get("news").state is state


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel", "get"])
def test_a_campaign_that_there_is_not_is_named(campaigns, verb):
    with pytest.raises(CampaignNotFound, match="'news'"):
        getattr(campaigns, verb)("news")


def test_a_feeder_that_comes_too_late_is_told_nothing(campaigns):
    assert campaigns.take("news", "w:1") is None
    assert not campaigns.fed("news", 1, "w:1")
    assert campaigns.unpark("news") == 0
    assert not campaigns.finish("news")
    assert campaigns.chunk("news", 1) == b""
    assert campaigns.recipients("news", [A]) == []
    with pytest.raises(CampaignNotFound):
        campaigns.set_open_until("news", 0.0)


def test_it_starts_when_its_time_has_come(bench, campaigns):
    bench.campaign(A, start_at=bench.clock.now() + 60)
    assert campaigns.live() == []
    assert campaigns.take("news", "w:1") is None
    bench.jump(59.5)
    assert campaigns.live() == []
    bench.jump(0.5)
    assert [(each.state, each.spec) for each in campaigns.live()] == [(CampaignState.RUNNING, b"")]
    assert campaigns.take("news", "w:1")


def test_one_that_was_paused_before_its_start_waits_for_that_when_it_goes_on(bench, campaigns):
    bench.campaign(A, start_at=bench.clock.now() + 60)
    campaigns.pause("news")
    assert campaigns.live() == []
    assert campaigns.resume("news") is CampaignState.SCHEDULED
    campaigns.pause("news")
    bench.jump(61)
    assert campaigns.resume("news") is CampaignState.RUNNING


@pytest.mark.parametrize("paused", [False, True])
def test_it_expires_with_all_who_wait(bench, campaigns, paused):
    bench.campaign(A, B, expires_at=bench.clock.now() + 60)
    if paused:
        campaigns.pause("news")
    bench.jump(60)
    assert campaigns.take("news", "w:1") is None
    assert campaigns.live() == []
    entry = campaigns.get("news")
    assert (entry.state, entry.counts, entry.queues) == (CampaignState.EXPIRED, {"expired": 2}, ())
    assert entry.ended_at == bench.clock.now()
    assert [each.state for each in campaigns.recipients("news", [A])] == ["expired"]


def test_one_that_was_cancelled_while_loading_is_over(bench, campaigns):
    campaigns.create("news", b"spec")
    campaigns.add("news", [A], b"one")
    campaigns.cancel("news")
    assert campaigns.live() == []
    assert bench.tallies() == {"cancelled": 1}
    with pytest.raises(IllegalTransition, match=r"cancelled.*running"):
        campaigns.start("news")


def test_campaigns_are_listed_newest_first(bench, campaigns):
    for name in ("b", "a", "c"):
        campaigns.create(name, b"spec")
        bench.jump(1)
    assert campaigns.ids() == ["c", "a", "b"]
    assert campaigns.ids(limit=2) == ["c", "a"]


# -- feeding


def test_a_chunk_is_one_owners_until_its_lease_ends(bench, campaigns):
    bench.campaign(A)
    chunk = campaigns.take("news", "w:1")
    assert (chunk.number, chunk.content) == (1, b"chunk")
    assert campaigns.take("news", "w:2") is None
    bench.jump(LEASE - 1)
    assert campaigns.take("news", "w:1") == chunk
    bench.jump(LEASE - 1)
    assert campaigns.take("news", "w:2") is None
    bench.jump(1)
    assert campaigns.take("news", "w:2") == chunk


def test_a_lease_from_before_the_clock_was_set_back_does_not_stand(bench, campaigns):
    bench.campaign(A)
    campaigns.take("news", "w:1")
    bench.jump(-8000)
    assert campaigns.take("news", "w:2")


def test_the_next_chunk_follows_the_one_that_was_fed(bench, campaigns):
    campaigns.create("news", b"spec")
    for digest in (A, B):
        campaigns.add("news", [digest], digest.encode())
    campaigns.start("news")
    assert campaigns.take("news", "w:1").number == 1
    bench.jump(3)
    assert campaigns.fed("news", 1, "w:1")
    assert not campaigns.fed("news", 1, "w:1")
    assert campaigns.get("news").started_at == bench.clock.now()
    assert campaigns.take("news", "w:2").content == B.encode()
    assert campaigns.fed("news", 2, "w:2")
    assert campaigns.take("news", "w:2") is None
    assert campaigns.get("news").queues == ()


def test_recipients_of_a_domain_with_its_own_pace_are_set_aside(bench, campaigns):
    bench.campaign(A, B, C)
    campaigns.take("news", "w:1")
    assert campaigns.fed("news", 1, "w:1", kept=b"a", moved={"x.org": b"b", "y.org": b"c"})
    assert not campaigns.fed("news", 1, "w:1", kept=b"a", moved={"x.org": b"b", "y.org": b"c"})
    entry = campaigns.get("news")
    assert (entry.queues, entry.chunks, entry.total) == (("x.org", "y.org"), 3, 3)
    assert [campaigns.chunk("news", number) for number in (1, 2, 3)] == [b"a", b"b", b"c"]
    assert campaigns.take("news", "w:1") is None
    assert campaigns.take("news", "w:1", queue="x.org").content == b"b"
    assert campaigns.take("news", "w:2", queue="x.org") is None
    assert campaigns.take("news", "w:2", queue="y.org").content == b"c"
    assert campaigns.fed("news", 2, "w:1", queue="x.org")
    assert campaigns.get("news").queues == ("y.org",)


@pytest.mark.parametrize("seconds", [20, 600])  # less than a lease, and more
def test_a_domains_queue_rests_after_a_piece_of_it(bench, campaigns, seconds):
    bench.campaign(A, B, C)
    campaigns.take("news", "w:1")
    campaigns.fed("news", 1, "w:1", kept=b"a", moved={"x.org": b"b"}, rest=99)
    assert campaigns.take("news", "w:1", queue="x.org").number == 2
    assert campaigns.fed("news", 2, "w:1", queue="x.org", kept=b"b1", moved={"x.org": b"b2"}, rest=seconds)
    bench.jump(seconds - 1)
    assert campaigns.take("news", "w:1", queue="x.org") is None
    assert campaigns.take("news", "w:2", queue="x.org") is None
    bench.jump(1)
    assert campaigns.take("news", "w:2", queue="x.org").content == b"b2"
    assert campaigns.fed("news", 3, "w:2", queue="x.org", rest=seconds)
    assert campaigns.get("news").queues == ()


def test_a_rest_is_ten_minutes_at_most_also_when_the_clock_is_set_back(bench, campaigns):
    bench.campaign(A, B)
    campaigns.take("news", "w:1")
    campaigns.fed("news", 1, "w:1", moved={"": b"b"}, rest=8000)
    bench.jump(599)
    assert campaigns.take("news", "w:1") is None
    bench.jump(-3600)
    assert campaigns.take("news", "w:1")


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_is_to_be_fed_while_it_is_paused_or_closed(bench, campaigns, closed):
    bench.campaign(A)
    if closed:
        campaigns.set_open_until("news", bench.clock.now() + 1)
        assert campaigns.take("news", "w:1")
        bench.jump(1)
    else:
        campaigns.pause("news")
    assert campaigns.take("news", "w:1") is None
    campaigns.set_open_until("news", bench.clock.now() + 99 if closed else 0.0)
    campaigns.resume("news")
    assert campaigns.take("news", "w:1")


# -- the end


def test_it_is_finished_once_when_all_have_ended(bench, campaigns):
    first, second = bench.campaign(A, B)
    assert not campaigns.finish("news")
    bench.accept(first, second)
    bench.settled(first, State.SENT)
    assert not campaigns.finish("news")
    bench.begun(second)
    assert not campaigns.finish("news")
    bench.record(second, State.DEFERRED, due_in=5.0)
    assert not campaigns.finish("news")
    bench.jump(5)
    bench.tick()
    bench.settled(second, State.FAILED)
    assert campaigns.finish("news")
    assert not campaigns.finish("news")
    entry = campaigns.get("news")
    assert (entry.state, entry.ended_at) == (CampaignState.FINISHED, bench.clock.now())
    assert entry.counts == {"sent": 1, "failed": 1}
    assert campaigns.live() == []


def test_it_does_not_wait_for_operators(bench, campaigns):
    first, second = bench.campaign(A, B)
    bench.accept(first, second, on_unknown="hold")
    bench.settled(first, State.UNKNOWN)
    bench.ledger.hold([second])
    assert campaigns.finish("news")
    assert bench.ledger.unhold([second]) == ["deferred"]
    bench.tick()
    bench.settled(second, State.SENT)
    assert bench.tallies() == {"unknown": 1, "sent": 1}


def test_it_waits_for_what_is_parked(bench, campaigns):
    (message,) = bench.fed(A)
    campaigns.pause("news")
    bench.claim(message)
    campaigns.resume("news")
    assert not campaigns.finish("news")


def test_it_does_not_wait_for_recipients_whom_nobody_can_feed(bench, campaigns):
    """Those of a chunk that could not be read: it was fed, and made no messages."""
    bench.campaign(A)
    campaigns.take("news", "w:1")
    assert not campaigns.finish("news")
    assert campaigns.fed("news", 1, "w:1")
    assert campaigns.finish("news")
    assert bench.tallies() == {"waiting": 1}


def test_those_who_failed_are_taken_up_again_and_nobody_else(bench, campaigns):
    first, second = bench.fed(A, B)
    bench.settled(first, State.FAILED)
    bench.settled(second, State.SENT)
    campaigns.finish("news")
    assert campaigns.retry("news", [B, A, C], b"again") == (B, C)
    assert campaigns.get("news").state is CampaignState.FINISHED
    for _ in range(2):  # its answer may have been lost
        assert campaigns.retry("news", [A], b"again") == ()
    entry = campaigns.get("news")
    assert (entry.state, entry.counts, entry.ended_at) == (CampaignState.RUNNING, {"waiting": 1, "sent": 1}, 0.0)
    assert [each.id for each in campaigns.live()] == ["news"]
    assert campaigns.take("news", "w:1").content == b"again"
    bench.accept(first, second)
    bench.begun(first, token="t2")
    assert bench.record(first, State.SENT, token="t2")
    assert campaigns.fed("news", 2, "w:1")
    assert campaigns.finish("news")
    assert bench.tallies() == {"sent": 2}


@pytest.mark.parametrize("state", [CampaignState.LOADING, CampaignState.CANCELLED, CampaignState.EXPIRED])
def test_one_that_has_not_begun_or_was_withdrawn_is_not_taken_up_again(bench, campaigns, state):
    reach(bench, state)
    with pytest.raises(IllegalTransition, match=f"{state}.*running"):
        campaigns.retry("news", [A], b"again")


def test_nobody_is_taken_up_again_past_its_expires_at(bench, campaigns):
    """They would expire unsent, and the relay's replies would be gone."""
    (message,) = bench.fed(A, expires_at=bench.clock.now() + 60)
    bench.settled(message, State.FAILED, reason="550 5.1.1")
    campaigns.finish("news")
    bench.jump(60)
    with pytest.raises(IllegalTransition, match=r"expired.*running"):
        campaigns.retry("news", [A], b"again")
    assert campaigns.recipients("news", [A])[0].reply == "550 5.1.1"


def test_after_its_retention_nothing_is_left_of_it(bench, campaigns):
    (message,) = bench.fed(A)
    bench.settled(message, State.SENT)
    campaigns.finish("news")
    bench.jump(RETENTION - 1)
    assert campaigns.sweep() == 0
    assert bench.state(message) is State.SENT
    bench.jump(1)
    assert campaigns.sweep(10) == 10
    with pytest.raises(CampaignNotFound):
        campaigns.retry("news", [A], b"again")
    bench.tick()
    assert campaigns.sweep() == 0
    assert campaigns.ids() == []
    with pytest.raises(MessageNotFound):
        bench.ledger.get(message)
    assert campaigns.create("news", b"another").new


def test_one_that_nobody_goes_on_loading_is_cancelled_and_swept(bench, campaigns):
    campaigns.create("empty", b"spec", width=0)
    bench.jump(RETENTION / 2)
    campaigns.create("news", b"spec", width=0)
    bench.jump(RETENTION / 2)
    campaigns.add("news", [A], b"one")
    bench.live(2)
    assert [campaigns.get(name).state for name in ("empty", "news")] == [CampaignState.CANCELLED, CampaignState.LOADING]
    bench.jump(RETENTION)
    bench.live(3)
    assert campaigns.get("news").state is CampaignState.CANCELLED
    bench.jump(RETENTION)
    bench.live(3)
    assert campaigns.ids() == []


def test_one_that_has_started_is_not_given_up(bench, campaigns):
    bench.campaign(A, start_at=bench.clock.now() + 3 * RETENTION)
    for verb in ("pause", "resume"):
        getattr(campaigns, verb)("news")
        bench.jump(RETENTION)
        bench.live(2)
    bench.jump(RETENTION)
    assert [each.id for each in campaigns.live()] == ["news"]
    assert campaigns.take("news", "w:1")


def test_ticks_sweep_what_is_parked_in_one_that_was_cancelled(bench, campaigns):
    (message,) = bench.fed(A)
    campaigns.pause("news")
    bench.claim(message)
    campaigns.cancel("news")
    bench.jump(RETENTION)
    bench.tick()
    assert campaigns.get("news").counts == {"cancelled": 1}
    bench.jump(1)
    bench.tick()
    assert campaigns.ids() == []


def test_what_outlives_its_campaign_belongs_to_no_later_one_of_its_name(bench, campaigns):
    (message,) = bench.campaign(A)
    bench.accept(message, on_unknown="hold")
    bench.settled(message, State.UNKNOWN)
    assert campaigns.finish("news")
    bench.jump(RETENTION)
    bench.tick()
    bench.campaign(B)
    assert bench.ledger.resolve(message, State.SENT) is State.SENT
    assert bench.tallies() == {"waiting": 1}
    assert message_of("news", A) == message
