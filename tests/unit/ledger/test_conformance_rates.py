"""Every ledger: the rate limits are one account for the whole fleet, exact over time, and changed at once."""

from __future__ import annotations

import math

import pytest

from mailqueue.ledger.rates import DomainState
from mailqueue.rate import Limits

NONE = Limits()


def take(bench, wanted=100, limits="10/s", domain="a.example", owner="w1", share=0.0, **more):
    """How many of one domain may go now."""
    asked = Limits.parse(limits) if isinstance(limits, str) else limits
    asked = Limits(asked.rates, asked.domains, asked.connections, share)
    return bench.ledger.rates.take("eu", {domain: wanted}, limits=asked, owner=owner, **more).granted[domain]


def permits(bench, wanted, limits, owner="w1", **more):
    return bench.ledger.rates.take("eu", wanted, limits=Limits.parse(limits), owner=owner, **more)


def demand(bench, seconds, step=0.05, **more):
    """What endless demand of three owners in turn gets, and when: (s since the beginning, number)."""
    taken, began, place = [], bench.clock.now(), 0
    while bench.clock.now() - began < seconds:
        taken.append((round(bench.clock.now() - began, 3), take(bench, 1000, owner=f"w{place % 3}", **more)))
        place += 1
        bench.clock.moved += step
    return taken


# -- a pace: messages a second


def test_without_limits_everything_is_granted(bench):
    answer = permits(bench, {"a.example": 5, "b.example": 7}, "unlimited")
    assert answer.granted == {"a.example": 5, "b.example": 7}
    assert (answer.waits, answer.rates, answer.narrow) == ({}, {}, frozenset())


def test_a_pace_lets_one_message_through_and_a_tenth_of_a_second(bench):
    assert take(bench, limits="200/s") == 21
    assert take(bench, limits="200/s") == 0
    bench.clock.moved += 0.05
    assert take(bench, limits="200/s") == 10


def test_a_slow_pace_lets_one_through_at_a_time(bench):
    assert [take(bench, limits="0.5/s") for _ in range(2)] == [1, 0]
    answer = permits(bench, {"a.example": 2}, "0.5/s")
    assert answer.waits["a.example"] == pytest.approx(1.9)
    assert answer.rates == {"": 0.5, "a.example": 0.5}
    bench.clock.moved += answer.waits["a.example"]
    assert take(bench, limits="0.5/s") == 1


@pytest.mark.parametrize("pace", [0.5, 14, 300, 7777])
def test_a_pace_is_exact_over_time_and_never_exceeded(bench, pace):
    taken = demand(bench, 20, limits=f"{pace}/s")
    total = 0
    for at, number in taken:
        total += number
        assert total <= 1 + pace * (at + 0.1) + 1e-6
    assert total >= 0.98 * pace * 20 - 1
    # Nor within any stretch of it.
    for first in range(0, len(taken), 7):
        within = sum(number for _, number in taken[first : first + 20])
        assert within <= 1 + pace * (taken[first : first + 20][-1][0] - taken[first][0] + 0.1) + 1e-6


def test_nothing_is_saved_up_while_nobody_sends(bench):
    take(bench, limits="100/s")
    bench.jump(3600)
    assert take(bench, limits="100/s") == 11


def test_who_asks_too_early_is_told_how_long_to_wait(bench):
    take(bench, limits="10/s")
    answer = permits(bench, {"a.example": 5}, "10/s")
    assert answer.granted == {"a.example": 0}
    assert 0 < answer.waits["a.example"] <= 0.1
    bench.clock.moved += answer.waits["a.example"]
    assert take(bench, limits="10/s") == 1


def test_relays_have_accounts_of_their_own(bench):
    assert take(bench, limits="10/s") == 2
    limits = Limits.parse("10/s")
    assert bench.ledger.rates.take("us", {"a.example": 9}, limits=limits, owner="w1").granted == {"a.example": 2}


def test_a_domains_limit_holds_besides_the_relays(bench):
    answer = permits(bench, {"slow.example": 50, "a.example": 50}, "200/s; slow.example 10/s")
    assert answer.granted == {"slow.example": 2, "a.example": 19}
    assert answer.rates == {"": 200, "slow.example": 10, "a.example": 200}
    assert set(answer.waits) == {"slow.example", "a.example"}
    assert answer.waits["slow.example"] > answer.waits["a.example"]


def test_where_a_relay_has_not_enough_for_all_the_domains_take_turns(bench):
    answer = permits(bench, {"a.example": 60, "b.example": 30, "c.example": 3}, "200/s")
    assert answer.granted == {"a.example": 9, "b.example": 9, "c.example": 3}
    bench.jump(10)
    answer = permits(bench, {"a.example": 1, "b.example": 1, "c.example": 1}, "10/s")
    assert sum(answer.granted.values()) == 2


def test_a_limit_of_any_domain_is_each_ones_own(bench):
    answer = permits(bench, {"a.example": 50, "b.example": 50, "big.example": 50}, "* 10/s; big.example unlimited")
    assert answer.granted == {"a.example": 2, "b.example": 2, "big.example": 50}


def test_a_clock_set_back_stops_nothing(bench):
    take(bench, limits="10/s")
    bench.jump(-10_000)
    assert take(bench, limits="10/s") == 0
    bench.clock.moved += 1
    assert take(bench, limits="10/s") == 2


# -- quotas: rolling windows


@pytest.mark.parametrize(("limits", "seconds"), [("600/min", 60), ("600/h", 3600), ("600/d", 86400)])
def test_a_quota_is_never_exceeded_and_made_use_of(bench, limits, seconds):
    step = seconds / 150
    taken = demand(bench, 4 * seconds, step=step, limits=limits)
    numbers = [number for _, number in taken]
    for first in range(len(numbers)):
        assert sum(numbers[first : first + 150]) <= 600  # an interval as long as the window, wherever it begins
    assert sum(numbers) >= 0.98 * 4 * 600


def test_a_steady_flow_keeps_within_a_quota_too(bench):
    numbers = []
    for _ in range(300):
        numbers.append(take(bench, 7, limits="300/min"))
        bench.clock.moved += 1
    assert all(sum(numbers[first : first + 60]) <= 300 for first in range(300))
    assert sum(numbers) >= 0.98 * 300 * 5


def test_a_quota_that_is_used_up_tells_when_it_is_free_again(bench):
    assert take(bench, limits="100/h") == 100
    bench.jump(1000)
    answer = permits(bench, {"a.example": 5}, "100/h", urgent=True)
    assert answer.granted == {"a.example": 0}
    assert 2600 <= answer.waits["a.example"] <= 2720
    assert answer.rates["a.example"] == pytest.approx(100 / 3600)
    bench.jump(answer.waits["a.example"])
    assert take(bench, limits="100/h") == 100


def test_a_rate_and_a_quota_hold_both(bench):
    assert take(bench, limits="100/s, 15/h") == 11
    bench.clock.moved += 1
    assert take(bench, limits="100/s, 15/h") == 4
    bench.clock.moved += 1
    assert take(bench, limits="100/s, 15/h") == 0


def test_a_clock_set_back_prolongs_a_quota_by_as_much_and_no_more(bench):
    assert take(bench, limits="10/min") == 10
    bench.jump(-100)
    assert take(bench, limits="10/min") == 0
    bench.jump(161.5)
    assert take(bench, limits="10/min") == 10


def test_a_lower_limit_counts_what_was_sent(bench):
    assert take(bench, limits="100/h") == 100
    assert take(bench, limits="50/h") == 0
    assert take(bench, limits="120/h") == 20


# -- urgent mail


def test_urgent_mail_is_served_a_second_ahead_and_the_others_pay(bench):
    assert take(bench, limits="10/s") == 2
    assert take(bench, limits="10/s", urgent=True) == 10
    bench.clock.moved += 0.9
    assert take(bench, limits="10/s") == 0
    bench.clock.moved += 0.3
    assert take(bench, limits="10/s") == 2


def test_urgent_mail_may_be_one_ahead_of_the_slowest_pace(bench):
    assert take(bench, limits="0.1/s") == 1
    assert take(bench, limits="0.1/s", urgent=True) == 1
    assert take(bench, limits="0.1/s", urgent=True) == 0


def test_with_urgent_mail_in_between_the_total_stays_exact(bench):
    total = 0
    for step in range(400):
        total += take(bench, 3, limits="20/s", urgent=True) if step % 10 == 0 else take(bench, limits="20/s")
        bench.clock.moved += 0.05
        assert total <= 1 + 20 * (step * 0.05 + 0.1 + 1) + 1e-6
    assert 0.98 * 20 * 20 <= total <= 1 + 20 * 20 * 1.02 + 20


def test_a_share_of_a_quota_is_kept_for_urgent_mail(bench):
    assert take(bench, 200, limits="100/h", share=0.05) == 95
    assert take(bench, 200, limits="100/h", share=0.05, urgent=True) == 5
    bench.jump(3700)
    assert take(bench, 50, limits="100/h", share=0.05, urgent=True) == 50
    assert take(bench, 200, limits="100/h", share=0.05) == 45


def test_of_a_tiny_quota_nothing_is_kept(bench):
    assert take(bench, limits="10/d", share=0.05) == 10


# -- giving back


def test_permits_that_were_not_used_are_there_for_others(bench):
    assert take(bench, limits="100/s, 100/h; a.example 50/s, 80/h") == 6
    bench.ledger.rates.give_back("eu", {"a.example": 6})
    assert take(bench, limits="100/s, 100/h; a.example 50/s, 80/h", owner="w2") == 6
    bench.jump(60)
    assert sum(number for _, number in demand(bench, 10, limits="100/s, 100/h; a.example 50/s, 80/h")) == 74


def test_giving_back_saves_nothing_up(bench):
    take(bench, limits="10/s")
    bench.clock.moved += 60
    bench.ledger.rates.give_back("eu", {"a.example": 100, "b.example": 5})
    bench.ledger.rates.give_back("eu", {})
    assert take(bench, limits="10/s") == 2


def test_giving_back_takes_from_what_was_sent_last(bench):
    assert take(bench, 10, limits="15/min") == 10
    bench.clock.moved += 30
    assert take(bench, 10, limits="15/min") == 5
    bench.ledger.rates.give_back("eu", {"a.example": 7})
    assert take(bench, limits="15/min") == 7
    bench.clock.moved += 31.5
    assert take(bench, limits="15/min") == 8


# -- connections


def test_only_so_many_owners_send_to_a_domain_at_once(bench):
    limits = "unlimited; a.example 2 connections"
    assert [take(bench, 5, limits=limits, owner=f"w{number}") for number in range(3)] == [5, 5, 0]
    answer = permits(bench, {"a.example": 1, "b.example": 1}, limits, "w2")
    assert answer.granted == {"a.example": 0, "b.example": 1}
    assert (answer.waits, answer.narrow) == ({"a.example": 0.25}, {"a.example"})
    assert take(bench, 5, limits=limits, owner="w0") == 5
    bench.ledger.rates.leave("eu", "w0")
    assert take(bench, 5, limits=limits, owner="w2") == 5


def test_an_owner_that_has_gone_silent_occupies_nothing_after_2_minutes(bench):
    limits = "unlimited; a.example 1 connection"
    assert take(bench, limits=limits, owner="w1") == 100
    bench.jump(119)
    assert take(bench, limits=limits, owner="w2") == 0
    bench.jump(2)
    assert take(bench, limits=limits, owner="w2") == 100


def test_an_owner_that_goes_on_keeps_its_connection(bench):
    limits = "unlimited; a.example 1 connection"
    for _ in range(4):
        assert take(bench, limits=limits, owner="w1") == 100
        bench.jump(100)
        assert take(bench, limits=limits, owner="w2") == 0


def test_the_connections_of_a_relay_are_limited_too(bench):
    assert take(bench, limits="1 connection", owner="w1") == 100
    answer = permits(bench, {"b.example": 1}, "1 connection", "w2")
    assert (answer.granted, answer.narrow) == ({"b.example": 0}, {""})
    bench.ledger.rates.leave("eu", "w1")
    assert take(bench, limits="1 connection", owner="w2") == 100


def test_who_gets_no_permit_occupies_no_connection(bench):
    limits = "unlimited; a.example 1/s, 1 connection"
    assert take(bench, limits=limits, owner="w1") == 1
    bench.ledger.rates.leave("eu", "w1")
    assert take(bench, limits=limits, owner="w1") == 0
    bench.clock.moved += 1
    assert take(bench, limits=limits, owner="w2") == 1


# -- domains that ask for less


def slow(bench, limits=NONE, domain="a.example", **more):
    return bench.ledger.rates.slow_down("eu", domain, limits=limits, **more)


def test_a_domain_is_slowed_to_half_of_its_limit(bench):
    limits = Limits.parse("100/s; a.example 20/s")
    assert slow(bench, limits) == 10
    answer = bench.ledger.rates.take("eu", {"a.example": 50, "b.example": 50}, limits=limits, owner="w1")
    assert answer.granted == {"a.example": 2, "b.example": 9}
    assert answer.rates == {"": 100, "a.example": 10, "b.example": 100}


def test_a_domain_without_a_limit_is_slowed_to_half_of_what_was_seen(bench):
    for _ in range(8):
        bench.ledger.rates.limited("eu", NONE, sent={"a.example": 80, "b.example": 1})
        bench.clock.moved += 2
    assert slow(bench) == pytest.approx(20, rel=0.15)
    assert take(bench, limits="unlimited") in (2, 3)
    assert take(bench, limits="unlimited", domain="b.example") == 100


def test_who_sends_little_is_slowed_to_half_a_message_a_second(bench):
    assert slow(bench) == 0.5
    bench.ledger.rates.limited("eu", NONE, sent={"b.example": 1})
    assert slow(bench, domain="b.example") == 0.5


def test_a_domain_is_slowed_once_in_10_s(bench):
    limits = Limits.parse("a.example 20/s")
    assert [slow(bench, limits) for _ in range(3)] == [10, 10, 10]
    bench.jump(9.9)
    assert slow(bench, limits) == 10
    bench.jump(0.2)
    assert slow(bench, limits) == 5


def test_no_domain_is_slowed_below_one_message_a_minute(bench):
    for _ in range(20):
        rate = slow(bench, Limits.parse("a.example 20/s"))
        bench.jump(11)
    assert rate == pytest.approx(1 / 60)


def test_a_slowed_domain_recovers_by_a_quarter_a_minute(bench):
    limits = Limits.parse("a.example 20/s")
    slow(bench, limits, reason="421 4.7.0")
    rates = []
    for _ in range(4):
        rates.append(bench.ledger.rates.limited("eu", limits)["a.example"])
        bench.jump(60)
    assert rates == [10, 12.5, 15.625, 19.53125]
    assert bench.ledger.rates.limited("eu", limits) == {"a.example": 20}
    assert bench.ledger.rates.limited("eu", NONE) == {}
    assert bench.ledger.rates.states() == {}


def test_a_complaint_halves_what_it_had_recovered_to(bench):
    limits = Limits.parse("a.example 20/s")
    slow(bench, limits)
    bench.jump(61)
    assert slow(bench, limits) == 6.25
    bench.jump(60 * 6)
    assert bench.ledger.rates.limited("eu", limits) == {"a.example": 20}


def test_a_slowed_domain_is_told_with_the_codes(bench):
    slow(bench, reason="421 4.7.0")
    (state,) = bench.ledger.rates.states().values()
    assert state.domains == {"a.example": DomainState(0.5, slowed=True, reason="421 4.7.0")}
    assert not state.overridden


def test_urgent_mail_to_a_slowed_domain_goes_ahead(bench):
    for _ in range(20):
        slow(bench)
        bench.jump(11)
    assert take(bench, 1, limits="unlimited") == 1
    assert take(bench, 1, limits="unlimited") == 0
    assert take(bench, 1, limits="unlimited", urgent=True) == 1


# -- what has a pace


def test_what_has_limits_of_its_own_is_told(bench):
    limits = Limits.parse("14/s, 86400/d; a.example 5/s, 2 connections; b.example 1 connection; c.example unlimited")
    assert bench.ledger.rates.limited("eu", limits) == {"": 1, "a.example": 5, "b.example": math.inf}
    assert bench.ledger.rates.limited("eu", Limits.parse("* 5/s")) == {"*": 5}
    assert bench.ledger.rates.limited("eu", NONE) == {}


# -- overrides


def test_an_override_holds_from_the_next_call_on(bench):
    assert take(bench, limits="10/s") == 2
    bench.ledger.rates.override("eu", "1000/s")
    assert take(bench, 500, limits="10/s") == 99
    bench.ledger.rates.override("eu", "20/s")
    bench.clock.moved += 2
    assert take(bench, 500, limits="10/s") == 3
    bench.ledger.rates.override("eu", None)
    bench.clock.moved += 2
    assert take(bench, 500, limits="10/s") == 2


def test_a_rate_that_is_raised_does_not_wait_for_the_old_one(bench):
    assert take(bench, limits="0.01/s") == 1
    bench.ledger.rates.override("eu", "100/s")
    bench.clock.moved += 0.1
    assert take(bench, limits="0.01/s") == 11


def test_a_rate_that_is_lowered_does_not_make_up_for_the_old_one_for_ever(bench):
    assert take(bench, 5000, limits="10000/s") == 1001
    bench.ledger.rates.override("eu", "1/s")
    bench.clock.moved += 3
    assert take(bench, limits="10000/s") == 1


def test_an_override_replaces_what_it_names_and_nothing_else(bench):
    limits = Limits.parse("100/s; a.example 10/s; b.example 10/s; * 20/s")
    bench.ledger.rates.override("eu", "b.example 50/s; * 1/s")
    wanted = dict.fromkeys(("a.example", "b.example", "c.example"), 20)
    answer = bench.ledger.rates.take("eu", wanted, limits=limits, owner="w1")
    assert answer.rates == {"": 100, "a.example": 10, "b.example": 50, "c.example": 1}
    assert bench.ledger.rates.limited("eu", limits) == {"": 100, "a.example": 10, "b.example": 50, "*": 1}
    bench.ledger.rates.override("eu", "unlimited")
    assert bench.ledger.rates.limited("eu", limits) == {"a.example": 10, "b.example": 10, "*": 20}


def test_a_quota_that_is_overridden_is_counted_all_the_same(bench):
    bench.ledger.rates.override("eu", "1000/s")
    assert take(bench, 80, limits="100/d") == 80
    bench.jump(1200)
    bench.ledger.rates.override("eu", None)
    assert take(bench, limits="100/d") == 20


def test_a_relay_without_limits_gets_some_by_an_override(bench):
    bench.ledger.rates.override("eu", "5/s")
    assert bench.ledger.rates.limited("eu", NONE) == {"": 5}
    assert take(bench, limits="unlimited") == 1


def test_an_override_is_told(bench):
    bench.ledger.rates.override("eu", "5/s,  90/d; a.example 2 connections")
    take(bench, 3, limits="14/s, 100/h")
    (state,) = bench.ledger.rates.states().values()
    assert (state.relay, state.limits, state.overridden) == ("eu", "5/s, 90/d", True)
    assert state.used == {"h": 1, "d": 1}
    assert state.domains == {"a.example": DomainState(None, connections=2, overridden=True)}


def test_an_override_of_a_domain_alone_is_told_as_its_own(bench):
    take(bench, 1, limits="14/s")
    bench.ledger.rates.override("eu", "a.example 5/s; b.example unlimited")
    slow(bench)
    (state,) = bench.ledger.rates.states().values()
    assert (state.limits, state.overridden) == ("14/s", False)
    assert state.domains == {
        "a.example": DomainState(2.5, slowed=True, overridden=True),
        "b.example": DomainState(None, overridden=True),
    }


@pytest.mark.parametrize("text", ["", "fast", "5/s; 6/s"])
def test_what_is_no_limit_changes_nothing(bench, text):
    bench.ledger.rates.override("eu", "5/s")
    with pytest.raises(ValueError, match=r"."):
        bench.ledger.rates.override("eu", text)
    assert bench.ledger.rates.limited("eu", NONE) == {"": 5}


# -- what was used


def test_what_was_used_of_each_quota_is_told(bench):
    take(bench, 7, limits="600/min, 50000/d")
    bench.jump(62)
    take(bench, 3, limits="600/min, 50000/d")
    (state,) = bench.ledger.rates.states().values()
    assert (state.limits, state.overridden, state.used) == ("600/min, 50000/d", False, {"min": 3, "d": 10})


def test_a_relay_that_nobody_uses_any_more_is_forgotten(bench):
    take(bench, limits="10/s")
    bench.jump(2 * 86400 + 1)
    assert bench.ledger.rates.states() == {}


def test_relays_and_domains_are_named_by_any_text(bench):
    for relay in ("", "eu@x", "ключ", "a:b"):
        for domain in ("[ipv6:2001:db8::1]", "xn--bcher-kva.example", "42"):
            limits = Limits.parse("10/s, 100/d; * 5/s, 1 connection")
            assert bench.ledger.rates.take(relay, {domain: 1}, limits=limits, owner="w:1").granted == {domain: 1}
            bench.ledger.rates.slow_down(relay, domain, reason="450\n4.2.1")
            bench.ledger.rates.leave(relay, "w:1")
            bench.clock.moved += 1
    assert set(bench.ledger.rates.states()) == {"", "eu@x", "ключ", "a:b"}
