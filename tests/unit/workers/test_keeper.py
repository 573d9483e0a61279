"""The keeper renews what has begun and gives back what has waited too long."""

from __future__ import annotations

import threading

import pytest

from mailqueue.errors import LedgerUnavailable
from workers.batch import Batch
from workers.keeper import LONGEST_REPLY, Keeper


class Ledger:
    def __init__(self):
        self.renewed, self.released = [], []
        self.called = threading.Event()
        self.trouble = None

    def renew(self, ids, token):
        if self.trouble:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.renewed.append((tuple(ids), token))
        self.called.set()
        return [True] * len(ids)

    def release(self, ids, token, *, due_in=0.0, reason=""):
        self.released.append((tuple(ids), token))
        self.called.set()


class Connections:
    def __init__(self):
        self.closing = threading.Event()
        self.thawed = threading.Event()
        self.thawed.set()
        self.trouble = None

    def close_idle(self):
        if self.trouble:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.closing.set()
        self.thawed.wait(10)


@pytest.fixture
def ledger():
    return Ledger()


class Relays:
    def __init__(self):
        self.kept = threading.Event()

    def keep(self):
        self.kept.set()


@pytest.fixture
def connections():
    return Connections()


@pytest.fixture
def relays():
    return Relays()


@pytest.fixture
def keeper(ledger, connections, relays):
    keeper = Keeper(ledger, connections, relays, lease=0.1)
    yield keeper
    connections.thawed.set()
    keeper.stop()


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def batch(now):
    return Batch("default", clock=lambda: now[0])


def test_begun_messages_are_renewed_and_fresh_claims_left_alone(keeper, ledger, batch):
    batch.claimed(["1", "2"])
    batch.begun(["1"])
    with keeper.watch(batch):
        assert ledger.called.wait(5)
    assert ledger.renewed[0] == (("1",), batch.token)
    assert ledger.released == []


def test_claims_that_waited_two_thirds_of_a_lease_are_given_back(keeper, ledger, batch, now):
    batch.claimed(["1", "2"])
    now[0] += 0.07
    with keeper.watch(batch):
        assert ledger.called.wait(5)
    assert ledger.released == [(("1", "2"), batch.token)]
    assert not batch.holds("1")


def test_the_message_whose_turn_it_is_is_renewed_before_it_begins(keeper, ledger, batch, now):
    # A relay may take minutes to answer MAIL or RCPT: given back meanwhile, it would occupy one child after the other.
    batch.claimed(["1", "2"])
    batch.turn("1")
    now[0] += 0.07
    with keeper.watch(batch):
        assert ledger.called.wait(5)
        ledger.called.clear()
        assert ledger.called.wait(5)
    assert ledger.renewed[0] == (("1",), batch.token)
    assert ledger.released == [(("2",), batch.token)]


def test_a_message_is_not_renewed_past_the_longest_reply(keeper, ledger, batch, now):
    batch.claimed(["1"])
    batch.begun(["1"])
    now[0] += LONGEST_REPLY + 1
    with keeper.watch(batch):
        assert not ledger.called.wait(0.1)


def test_an_unavailable_ledger_is_asked_again(keeper, ledger, batch, caplog):
    ledger.trouble = LedgerUnavailable("away")
    batch.claimed(["1"])
    batch.begun(["1"])
    with keeper.watch(batch):
        assert ledger.called.wait(5)
    assert "action=lease_not_renewed" in caplog.text


def test_a_relay_that_does_not_let_go_of_an_idle_connection_delays_no_renewal(keeper, ledger, connections, batch):
    connections.thawed.clear()
    batch.claimed(["1"])
    batch.begun(["1"])
    with keeper.watch(batch):
        assert connections.closing.wait(5)
        for _ in range(3):
            ledger.called.clear()
            assert ledger.called.wait(5)


def test_a_bug_ends_no_renewals(keeper, ledger, batch, caplog):
    ledger.trouble = KeyError("bug")
    batch.claimed(["1"])
    batch.begun(["1"])
    with keeper.watch(batch):
        assert ledger.called.wait(5)
    assert "action=keeping_failed" in caplog.text


def test_a_bug_in_closing_ends_no_closing(keeper, connections, batch, caplog):
    connections.trouble = KeyError("bug")
    with keeper.watch(batch):
        assert connections.closing.wait(5)
    assert "action=keeping_failed" in caplog.text


def test_a_large_message_on_a_slow_line_is_renewed_until_it_is_answered(keeper, ledger, batch, now):
    # 25 MB at 256 kbit/s take 13 minutes, and the final reply may take 10 more.
    batch.claimed(["1"])
    batch.begun(["1"])
    now[0] += 120 + 800 + 600
    with keeper.watch(batch):
        assert ledger.called.wait(5)
    assert ledger.renewed[0] == (("1",), batch.token)


def test_what_is_not_watched_is_not_kept(keeper, ledger, batch):
    batch.claimed(["1"])
    batch.begun(["1"])
    with keeper.watch(batch):
        assert ledger.called.wait(5)
    other = Batch("default")
    ledger.called.clear()
    ledger.renewed.clear()
    with keeper.watch(other):
        assert not ledger.called.wait(0.1)
    assert ledger.renewed == []


def test_probes_are_kept(keeper, relays, batch):
    with keeper.watch(batch):
        assert relays.kept.wait(5)
