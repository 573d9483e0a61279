"""Every ledger: a relay in trouble is left alone by the whole fleet, and asked by one at a time."""

from __future__ import annotations

import pytest

from mailqueue.ledger.base import RelayMark, Setback


def trouble(bench, owner="w1", relay="eu", **more):
    return bench.ledger.relay_trouble(relay, owner=owner, delay=10.0, **{"longest": 60.0, **more})


def probe(bench, owner="w1", relay="eu", **more):
    return bench.ledger.relay_probe(relay, owner, **more)


def fail_probe(bench):
    """The time of the next probe has come, and it fails; s until the one after it."""
    bench.jump(bench.ledger.relay_states()["eu"].until - bench.clock.now() + 0.01)
    assert probe(bench) == 0.0
    return trouble(bench).wait


def test_a_relay_that_is_well_may_be_asked_and_is_not_listed(bench):
    assert probe(bench) == 0.0
    assert bench.ledger.relay_states() == {}
    assert not bench.ledger.relay_recovered("eu")
    assert bench.ledger.relay_states() == {}


def test_a_relay_in_trouble_is_left_alone_by_all(bench):
    assert trouble(bench, reason="refused") == Setback(10.0, news=True)
    bench.jump(4)
    for owner in ("w1", "w2"):
        assert probe(bench, owner) == pytest.approx(6, abs=0.01)
    assert probe(bench, relay="us") == 0.0
    (mark,) = bench.ledger.relay_states().values()
    now = bench.clock.now()
    assert mark == RelayMark("eu", pytest.approx(now - 4), pytest.approx(now + 6), 1, "refused")


def test_what_others_meet_meanwhile_is_the_same_trouble(bench):
    trouble(bench)
    bench.jump(1)
    assert trouble(bench, "w2") == Setback(pytest.approx(9), news=False)
    assert bench.ledger.relay_states()["eu"].times == 1


def test_when_the_time_has_come_one_owner_asks(bench):
    trouble(bench)
    bench.jump(11)
    assert probe(bench, "w2") == 0.0
    assert bench.ledger.relay_states()["eu"].prober == "w2"
    for owner in ("w1", "w3"):
        assert 0 < probe(bench, owner) <= 5
    assert probe(bench, "w2") == 0.0


def test_a_prober_that_asks_again_stays_the_prober(bench):
    trouble(bench)
    bench.jump(11)
    for _ in range(10):
        assert probe(bench, "w2") == 0.0
        bench.jump(20)
        assert probe(bench, "w1") > 0


def test_the_next_owner_asks_when_a_prober_has_died(bench):
    trouble(bench)
    bench.jump(11)
    probe(bench, "w2")
    bench.jump(31)
    assert probe(bench, "w1") == 0.0
    assert probe(bench, "w2") > 0


def test_trouble_met_by_others_during_a_probe_does_not_end_it(bench):
    trouble(bench)
    bench.jump(11)
    probe(bench, "w2")
    assert not trouble(bench, "w1").news
    assert bench.ledger.relay_states()["eu"].prober == "w2"


def test_each_probe_that_fails_doubles_the_delay_up_to_the_longest(bench):
    trouble(bench)
    assert [fail_probe(bench) for _ in range(5)] == [20, 40, 60, 60, 60]
    mark = bench.ledger.relay_states()["eu"]
    assert (mark.times, mark.prober) == (6, "")
    for _ in range(60):
        fail_probe(bench)
    assert fail_probe(bench) == 60


def test_trouble_is_news_once(bench):
    assert trouble(bench).news
    bench.jump(11)
    assert not trouble(bench).news
    bench.ledger.relay_recovered("eu")
    assert trouble(bench).news


def test_a_relay_that_has_recovered_may_be_asked_by_all(bench):
    trouble(bench)
    fail_probe(bench)
    assert bench.ledger.relay_recovered("eu")
    assert bench.ledger.relay_states() == {}
    assert [probe(bench, owner) for owner in ("w1", "w2")] == [0.0, 0.0]
    assert not bench.ledger.relay_recovered("eu")
    assert trouble(bench).wait == 10


def test_bad_credentials_latch_for_the_settings_that_have_them(bench):
    assert trouble(bench, latch="f1", reason="535") == Setback(300.0, news=True)
    assert trouble(bench, "w2", latch="f1") == Setback(300.0, news=False)
    bench.jump(600_000)
    assert probe(bench, fingerprint="f1") == 300
    assert probe(bench, fingerprint="f2") == probe(bench) == 0.0
    mark = bench.ledger.relay_states()["eu"]
    assert (mark.latched, mark.times, mark.reason) == (("f1",), 0, "535")


def test_a_latch_is_forgotten_with_its_settings(bench):
    trouble(bench, latch="f1")
    bench.jump(300_000)
    trouble(bench, latch="f2")
    bench.jump(304_801)
    assert bench.ledger.relay_states()["eu"].latched == ("f2",)
    assert probe(bench, fingerprint="f1") == 0.0
    bench.jump(300_000)
    assert bench.ledger.relay_states() == {}
    assert not bench.ledger.relay_recovered("eu")
    assert trouble(bench, latch="f1").news


def test_trouble_over_the_same_lone_message_again_makes_only_that_one_wait(bench):
    assert trouble(bench, over="m1") == Setback(10.0, news=True)
    bench.jump(11)
    probe(bench)
    assert trouble(bench, over="m1") == Setback(20.0, news=False, down=False)
    assert probe(bench, "w2") == 0.0
    assert bench.ledger.relay_states()["eu"].times == 2


@pytest.mark.parametrize("over", ["", "m2"])
def test_trouble_over_another_message_is_the_relays(bench, over):
    trouble(bench, over="m1")
    bench.jump(11)
    probe(bench)
    assert trouble(bench, over=over) == Setback(20.0, news=False)
    assert probe(bench, "w2") == 20
    bench.jump(21)
    assert trouble(bench, over="m1").down


def test_other_settings_that_work_do_not_take_a_latch_off(bench):
    trouble(bench, latch="f1")
    assert not bench.ledger.relay_recovered("eu")
    assert probe(bench, fingerprint="f1") == 300
    assert trouble(bench, latch="f2").news
    assert bench.ledger.relay_states()["eu"].latched == ("f1", "f2")


def test_a_latch_is_taken_off_by_hand(bench):
    trouble(bench, latch="f1")
    assert bench.ledger.relay_recovered("eu", by_hand=True)
    assert bench.ledger.relay_states() == {}
    assert probe(bench, fingerprint="f1") == 0.0


def test_a_latched_relay_may_be_in_trouble_besides(bench):
    trouble(bench, latch="f1")
    assert trouble(bench, "w2") == Setback(10.0, news=True)
    assert probe(bench, fingerprint="f2") == 10
    assert probe(bench, fingerprint="f1") == 300
    assert bench.ledger.relay_recovered("eu")
    assert probe(bench, fingerprint="f2") == 0.0
    assert probe(bench, fingerprint="f1") == 300


def test_refused_credentials_end_a_trouble_for_it_was_reached(bench):
    trouble(bench)
    fail_probe(bench)
    trouble(bench, latch="f1")
    assert probe(bench, fingerprint="f2") == 0.0
    assert trouble(bench).wait == 10


def test_relays_are_named_by_any_text_and_reasons_are_short(bench):
    for relay in ("", "eu", "{x}", "ключ"):
        trouble(bench, relay=relay, reason="450\n" + "x" * 500)
    states = bench.ledger.relay_states()
    assert set(states) == {"", "eu", "{x}", "ключ"}
    assert all(len(mark.reason.encode()) <= 64 for mark in states.values())


def test_owners_may_look_like_numbers(bench):
    trouble(bench, "007", reason="0421")
    bench.jump(11)
    assert probe(bench, "007") == probe(bench, "007") == 0.0
    assert probe(bench, "7") > 0
    mark = bench.ledger.relay_states()["eu"]
    assert (mark.prober, mark.reason) == ("007", "0421")


def test_a_clock_set_back_does_not_prolong_a_trouble(bench):
    trouble(bench)
    bench.jump(-10_000)
    assert probe(bench, "w2") == 0.0
    assert 0 < probe(bench, "w1") <= 5


def test_a_clock_set_back_does_not_prolong_a_probe(bench):
    trouble(bench)
    bench.jump(11)
    probe(bench, "w2")
    bench.jump(-10_000)
    assert probe(bench, "w1") == 0.0
