"""The limits of relays by the settings, from day to day."""

from __future__ import annotations

import datetime as dt

import pytest

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured
from mailqueue.limits import LimitsOfRelays
from mailqueue.presets import PRESETS
from mailqueue.rate import Limits


def limits(relay="eu", day="2026-12-01", **options):
    conf.configure(MAILQUEUE_RELAYS={"eu": options} if options else {})
    now = dt.datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    return LimitsOfRelays().of(relay, now)


def test_without_settings_nothing_is_limited():
    assert not limits()
    assert not limits("us", rates="14/s")


def test_rates_and_domains_are_put_together():
    found = limits(rates="14/s; aol.com 1/s", domains={"GMail.com": "5/s, 2 connections", "*": "10/s"})
    assert str(found) == "14/s; aol.com 1/s; gmail.com 5/s, 2 connections; * 10/s"
    assert found.urgent_share == 0.05
    assert limits(rates="14/s", urgent_share=20).urgent_share == 0.2


def test_the_default_relay_is_called_default():
    conf.configure(MAILQUEUE_RELAYS={"default": {"rates": "9/s"}})
    assert LimitsOfRelays().of("", 0.0).own == "9/s"
    assert LimitsOfRelays().named() == [""]


def test_a_warm_up_gives_each_day_its_quota_until_it_is_over():
    warm_up = {"start": "2026-12-01", "first": 500, "factor": 2, "days": 3}
    conf.configure(MAILQUEUE_RELAYS={"eu": {"rates": "14/s, 1500/d", "warm_up": warm_up}})
    relays, noon = LimitsOfRelays(), dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC).timestamp()
    found = [relays.of("eu", noon + days * 86400).own for days in range(5)]
    assert found == ["14/s, 500/d", "14/s, 500/d", "14/s, 1000/d", "14/s, 1500/d", "14/s, 1500/d"]


def test_a_preset_stands_for_options_and_what_is_written_goes_before():
    assert limits(preset="microsoft-365").own == "30/min, 10000/d, 3 connections"
    assert limits(preset="microsoft-365", rates="9/min").own == "9/min"
    conf.configure(MAILQUEUE_RELAYS={"eu": {"preset": "sendgrid"}, "us": {"preset": "sendgrid", "max_messages": 9}})
    assert [options["max_messages"] for options in conf.get("MAILQUEUE_RELAYS").values()] == [5000, 9]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_right_and_has_its_source(name):
    limits(preset=name)
    assert "." in PRESETS[name].source
    assert PRESETS[name].options()
    assert not PRESETS[name].rates or str(Limits.parse(PRESETS[name].rates)) == PRESETS[name].rates


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rates": "14"}, "rates of the relay 'eu': '14' is no rate; write 14/s"),
        ({"rates": 14}, "14 is no text; write limits such as 14/s, 50000/d"),
        ({"domains": "5/s"}, 'it must map domains to their limits, such as {"gmail.com": "5/s, 2 connections"}'),
        ({"domains": {"gmail.com": "5"}}, "domains of the relay 'eu': gmail.com: '5' is no rate"),
        ({"domains": {"gmail.com": 5}}, "gmail.com: 5 is no text"),
        ({"domains": {"gmail.com": "aol.com 5/s"}}, "write what holds for gmail.com alone"),
        ({"warm_up": "500"}, 'it must be like {"start": "2026-12-01"'),
        ({"warm_up": {"start": "soon", "first": 5}}, "start is 'soon', which is no date"),
        ({"urgent_share": 51}, "51 is no whole number from 0 to 50"),
        ({"preset": "hotmail"}, "is not one of: brevo-free"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_what_would_be_right(options, says):
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.configure(MAILQUEUE_RELAYS={"eu": options})
    assert says in str(caught.value)
