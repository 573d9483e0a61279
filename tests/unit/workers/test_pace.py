"""A process's part in the fleet's limits: what it looks up and tells, and when it has a domain slowed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mailqueue import conf
from mailqueue.errors import LedgerFault, LedgerUnavailable, RelayTrouble
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply
from workers.pace import LONGEST, Pace

OK = Result(Verdict.ACCEPTED, Reply(250, "ok"))


@pytest.fixture
def fleet():
    """A ledger, its time (``fleet.now``), and the calls for limits (``fleet.looks``)."""
    fleet = SimpleNamespace(now=1_800_000_000.0, looks=[])
    fleet.ledger = MemoryLedger(clock=lambda: fleet.now)
    fleet.rates = fleet.ledger.rates
    limited = fleet.rates.limited

    def spy(relay, limits, *, sent=None):
        fleet.looks.append((relay, dict(sent or {})))
        return limited(relay, limits, sent=sent)

    fleet.rates.limited = spy
    fleet.pace = lambda: Pace(fleet.rates, lambda: fleet.now, lambda: fleet.now)
    return fleet


def deferred(*recipients, reply="451 4.7.1 slow down"):
    code, _, text = reply.partition(" ")
    return dict.fromkeys(recipients, Result(Verdict.DEFERRED, Reply(int(code), text)))


def test_a_relay_without_limits_is_looked_up_every_2_s(fleet):
    pace = fleet.pace()
    for _ in range(50):
        assert not pace.is_limited("eu")
    assert fleet.looks == [("eu", {})]
    fleet.now += 2
    assert not pace.is_limited("eu")
    assert len(fleet.looks) == 2


def test_a_look_tells_what_was_sent_to_which_domain(fleet):
    pace = fleet.pace()
    pace.is_limited("eu")
    for domain in ("a.example", "b.example", "a.example", ""):
        pace.answered("eu", domain, {})
    fleet.now += 2
    pace.is_limited("eu")
    fleet.now += 2
    pace.is_limited("eu")
    assert fleet.looks[1:] == [("eu", {"a.example": 2, "b.example": 1}), ("eu", {})]


def test_limits_of_the_settings_are_known_without_a_look(fleet):
    conf.configure(MAILQUEUE_RELAYS={"eu": {"rates": "5/s"}})
    pace = fleet.pace()
    assert pace.is_limited("eu")
    assert pace.limits("eu").own == "5/s"
    assert not pace.is_limited("us")


def test_limits_by_hand_and_slowed_domains_are_found_within_2_s(fleet):
    pace, other = fleet.pace(), fleet.pace()
    assert not pace.is_limited("eu")
    fleet.rates.override("eu", "5/s")
    fleet.now += 2
    assert pace.is_limited("eu")
    assert other.is_limited("eu")
    fleet.rates.override("eu", None)
    fleet.rates.slow_down("eu", "a.example")
    fleet.now += 2
    assert pace.is_limited("eu")


def test_a_domain_that_asks_for_less_is_slowed_once_in_10_s_and_at_once(fleet, caplog):
    pace = fleet.pace()
    pace.is_limited("eu")
    for _ in range(30):
        pace.answered("eu", "a.example", deferred("ann@A.example"))
    assert pace.is_limited("eu")
    assert fleet.rates.states()["eu"].domains["a.example"].reason == "451 4.7.1"
    assert caplog.text.count("action=domain_slowed relay=eu domain=a.example rate=0.5/s reason=451 4.7.1") == 1
    assert "ann" not in caplog.text
    fleet.now += 11
    pace.answered("eu", "a.example", deferred("ann@a.example"))
    assert fleet.rates.states()["eu"].domains["a.example"].rate == 0.25


def test_what_was_sent_just_before_counts_for_the_rate_that_is_halved(fleet):
    pace = fleet.pace()
    pace.is_limited("eu")
    for _ in range(400):
        pace.answered("eu", "a.example", {"ann@a.example": OK})
    fleet.now += 1
    for _ in range(40):
        pace.answered("eu", "a.example", deferred("ann@a.example"))
    assert fleet.rates.states()["eu"].domains["a.example"].rate == pytest.approx(210, rel=0.1)


def test_a_few_recipients_of_a_big_domain_slow_nothing(fleet):
    pace = fleet.pace()
    for number in range(1000):
        results = deferred("ann@a.example") if number % 25 == 24 else {"ann@a.example": OK}
        pace.answered("eu", "a.example", results)
    assert not fleet.rates.states()


@pytest.mark.parametrize("reply", ["450 4.2.2 mailbox full", "451 4.3.0 lookup failed", "452 4.5.3 too many", "550 no"])
def test_replies_over_something_else_slow_nothing(fleet, reply):
    fleet.pace().answered("eu", "a.example", deferred("ann@a.example", reply=reply))
    assert not fleet.rates.states()


@pytest.mark.parametrize(("stage", "slowed"), [("rcpt", True), ("final", True), ("mail", False), ("greeting", False)])
def test_a_relay_that_hangs_up_over_a_message_asks_for_less(fleet, stage, slowed):
    fleet.pace().hung_up("eu", "a.example", RelayTrouble("", stage=stage, code=421, text="4.7.0 too fast"))
    assert bool(fleet.rates.states()) is slowed


def test_a_relay_whose_domains_are_not_to_be_slowed(fleet):
    conf.configure(MAILQUEUE_RELAYS={"eu": {"slow_down": False}})
    fleet.pace().answered("eu", "a.example", deferred("ann@a.example"))
    assert not fleet.rates.states()


@pytest.mark.parametrize("error", [LedgerUnavailable, LedgerFault])
def test_a_store_that_is_away_changes_nothing_for_who_has_no_limits(fleet, error):
    def away(*_args, **_more):
        raise error("away")

    fleet.rates.limited = fleet.rates.slow_down = away
    pace = fleet.pace()
    assert not pace.is_limited("eu")
    pace.answered("eu", "a.example", deferred("ann@a.example"))


def test_what_is_put_off_comes_back_one_after_the_other_a_little_early(fleet):
    pace = fleet.pace()
    assert pace.queue_up("eu", "a.example", 3, rate=0.5, wait=10) == pytest.approx([8, 9.6, 11.2])
    assert pace.queue_up("eu", "a.example", 2, rate=0.5, wait=10) == pytest.approx([12.8, 14.4])
    assert pace.queue_up("eu", "", 1, rate=0.5, wait=10) == pytest.approx([8])
    fleet.now += 100
    assert pace.queue_up("eu", "a.example", 1, rate=0.5, wait=10) == pytest.approx([8])


def test_lines_that_are_empty_by_now_are_forgotten(fleet):
    pace = fleet.pace()
    for number in range(1500):
        pace.queue_up("eu", f"d{number}.example", 1, rate=0.5, wait=1)
    fleet.now += 100
    pace.queue_up("eu", "a.example", 1, rate=0.5, wait=1)
    assert len(pace._relays["eu"].lines) == 1


def test_with_another_rate_the_line_begins_anew(fleet):
    pace = fleet.pace()
    pace.queue_up("eu", "", 100, rate=0.5, wait=0)
    assert pace.queue_up("eu", "", 1, rate=5, wait=1) == pytest.approx([0.8])


def test_nothing_is_put_off_for_more_than_a_quarter_of_an_hour(fleet):
    times = fleet.pace().queue_up("eu", "", 200, rate=0.01, wait=30_000)
    assert all(LONGEST / 2 <= time <= LONGEST for time in times)
    assert len(set(times)) > 100
