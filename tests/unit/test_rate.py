"""Rates, limits and warm-ups as people write them."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.rate import Limits, Rate, WarmUp, domain_name


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("14/s", Rate(14, 1)),
        ("600/min", Rate(600, 60)),
        ("5000/h", Rate(5000, 3600)),
        ("50000/d", Rate(50000, 86400)),
        ("0.5/s", Rate(0.5, 1)),
        (" 14 / s ", Rate(14, 1)),
    ],
)
def test_a_rate_is_read_and_printed(text, rate):
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("14", "'14' is no rate; write 14/s, 600/min"),
        ("", "is no rate; write 14/s"),
        ("ten/s", "is no rate"),
        ("-3/s", "is no rate"),
        ("14/m", "write 14/min"),
        ("14/minute", "write 14/min"),
        ("14/S", "write 14/s"),
        ("14/week", "14 for s, min, h or d"),
        ("0/s", "lets nothing through; give a number above 0"),
        ("0.5/min", "write 30/h"),
        ("0.1/d", "give a whole number"),
    ],
)
def test_what_is_no_rate_is_told_what_would_be(text, says):
    with pytest.raises(ValueError, match=r"^'") as caught:
        Rate.parse(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("14/s, 50000/d", Limits((Rate(14, 1), Rate(50000, 86400)))),
        ("50000/d,14/s", Limits((Rate(14, 1), Rate(50000, 86400)))),
        ("5/s, 2 connections", Limits((Rate(5, 1),), connections=2)),
        ("1 connection", Limits(connections=1)),
        ("unlimited", Limits()),
        ("14/s; gmail.com 5/s", Limits((Rate(14, 1),), {"gmail.com": Limits((Rate(5, 1),))})),
        ("Gmail.com 5/s; * 2 connections; 163.com 1/s, 9/d", Limits((), {
            "gmail.com": Limits((Rate(5, 1),)),
            "*": Limits(connections=2),
            "163.com": Limits((Rate(1, 1), Rate(9, 86400))),
        })),
        ("gmail.com unlimited", Limits((), {"gmail.com": Limits()})),
    ],
)  # fmt: skip
def test_limits_are_read_and_printed(text, limits):
    assert Limits.parse(text) == limits
    assert Limits.parse(str(limits)) == limits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no limit in ''; write 14/s"),
        (" ; ", "there is no limit"),
        ("14/s, 20/s", "14/s and 20/s are for the same time; keep one"),
        ("50,000/d", "'50,000' has separators in it; write 50000"),
        ("14/s, 50 000/d", "'50 000' has separators"),
        ("2 connections, 3 connections", "a second number of connections"),
        ("0 connections", "lets nothing through"),
        ("gmail.com", "'gmail.com' has no limit"),
        ("gmail.com 5/s; GMAIL.com 6/s", "gmail.com is limited twice"),
        ("5/s; 6/s", "the relay is limited twice"),
        ("fast!", "neither a rate nor a domain"),
        ("14/s,", "'' is no rate"),
        ("14/s gmail.com 5/s", "has no unit of time that we know"),
    ],
)
def test_what_is_no_limit_is_told_what_would_be(text, says):
    with pytest.raises(ValueError, match=r".") as caught:
        Limits.parse(text)
    assert says in str(caught.value)


def test_the_limits_of_one_domain_name_no_other():
    assert Limits.of_domain("gmail.com", "5/s") == Limits((Rate(5, 1),))
    with pytest.raises(ValueError, match=r"names a domain; write what holds for gmail\.com alone"):
        Limits.of_domain("gmail.com", "5/s; example.com 6/s")


def test_a_domain_that_is_not_named_has_the_limits_of_any():
    limits = Limits.parse("gmail.com 5/s; * 1/s")
    assert (limits.of("gmail.com").own, limits.of("example.org").own) == ("5/s", "1/s")
    assert not Limits.parse("5/s").of("gmail.com")


def test_limits_are_true_if_they_limit_anything():
    assert not Limits()
    assert not Limits.parse("gmail.com unlimited")
    for text in ("1/s", "1 connection", "gmail.com 1/s"):
        assert Limits.parse(text)


def test_what_limits_amount_to_in_the_long_run():
    assert Limits.parse("14/s, 86400/d").per_second == 1
    assert Limits.parse("2 connections").per_second == math.inf


def test_of_two_rates_for_the_same_time_the_lower_one_holds():
    limits = Limits.parse("14/s, 500/d")
    assert limits.with_rate(Rate(100, 86400)).own == "14/s, 100/d"
    assert limits.with_rate(Rate(1000, 86400)) == limits
    assert limits.with_rate(Rate(60, 60)).own == "14/s, 60/min, 500/d"


@given(
    st.dictionaries(st.sampled_from([60.0, 3600.0, 86400.0]), st.integers(1, 10**9)),
    st.none() | st.floats(0.01, 1e6),
    st.none() | st.integers(1, 99),
)
def test_whatever_is_printed_is_read_as_the_same(quotas, pace, connections):
    rates = [Rate(float(messages), seconds) for seconds, messages in sorted(quotas.items())]
    limits = Limits(tuple([Rate(pace, 1.0)] * (pace is not None) + rates), connections=connections)
    assert Limits.parse(str(limits)) == limits


WARM_UP = {"start": "2026-12-01", "first": 500, "factor": 1.5, "days": 4}


def test_a_warm_up_grows_from_day_to_day_and_ends():
    warm_up = WarmUp.read(WARM_UP)
    days = [dt.date(2026, 11, 30) + dt.timedelta(days=passed) for passed in range(7)]
    assert [warm_up.quota(day) for day in days] == [500, 500, 750, 1125, 1687, None, None]


def test_a_warm_up_has_defaults():
    assert WarmUp.read({"start": dt.date(2026, 12, 1), "first": 9}) == WarmUp(dt.date(2026, 12, 1), 9, 1.5, 14)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"start": "1 Dec"}, "start is '1 Dec', which is no date; write one like 2026-12-01"),
        ({"start": 5}, "no date"),
        ({"first": 0}, "first is 0"),
        ({"first": 1.5}, "first is 1.5"),
        ({"factor": 1}, "factor is 1"),
        ({"factor": "2"}, "factor is '2'"),
        ({"days": 0}, "days is 0"),
        ({"until": 3}, "it has 'until'"),
    ],
)
def test_a_wrong_warm_up_is_told_what_would_be_right(wrong, says):
    with pytest.raises(ValueError, match=r".") as caught:
        WarmUp.read({**WARM_UP, **wrong})
    assert says in str(caught.value)


def test_a_warm_up_without_its_first_quota():
    with pytest.raises(ValueError, match="lacks its start or its first quota"):
        WarmUp.read({"start": "2026-12-01"})


@pytest.mark.parametrize(
    ("domain", "name"), [("GMail.com.", "gmail.com"), ("bücher.example", "xn--bcher-kva.example"), ("", "")]
)
def test_a_domain_is_named_in_one_way(domain, name):
    assert domain_name(domain) == name
