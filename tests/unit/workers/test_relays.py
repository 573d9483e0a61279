"""The health of relays."""

from __future__ import annotations

import logging

import pytest

from mailqueue.errors import LedgerUnavailable, RelayTrouble
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.trouble import trouble_with
from workers.relays import FIRST_PROBE, LAST_PROBE, LOOK_EVERY, Relays

TROUBLE = RelayTrouble("connect: refused", stage="connect")
REFUSED_LOGIN = RelayTrouble("auth: 535 5.7.8 no", stage="auth", code=535, text="5.7.8 no")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Ledger(MemoryLedger):
    """Counts the calls about relays."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.calls = []
        self.away = False

    def _call(self):
        if self.away:
            raise LedgerUnavailable("away")
        return super()._call()

    def __getattribute__(self, name):
        if name.startswith("relay_"):
            self.calls.append(name)
        return super().__getattribute__(name)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    return Ledger(clock)


@pytest.fixture
def fleet(ledger, clock):
    """Makes the relays as one more process sees them."""

    def process(owner="w:1", fingerprint="f1"):
        return Relays(ledger, owner, lambda _relay: fingerprint, clock=clock, jitter=lambda: 0.0)

    return process


@pytest.fixture
def relays(fleet):
    return fleet()


def fail_probe(relays, clock):
    """The next probe is due, and fails; s until the one after it."""
    clock.now += LAST_PROBE + 1
    assert relays.wait("ses") == 0.0
    return relays.troubled("ses", TROUBLE)


def test_a_relay_that_was_never_in_trouble_is_asked_at_once(relays):
    assert relays.wait("ses") == 0.0


def test_relays_that_are_well_cost_a_look_every_few_seconds(relays, ledger, clock):
    for _ in range(1000):
        assert relays.wait("ses") == relays.wait("") == 0.0
        relays.answered("ses")
        relays.leave("ses")
        relays.keep()
    assert ledger.calls == ["relay_states"]
    clock.now += LOOK_EVERY
    relays.wait("ses")
    assert ledger.calls == ["relay_states"] * 2


def test_trouble_makes_it_wait_until_the_next_probe(relays, clock):
    assert relays.troubled("ses", TROUBLE) == FIRST_PROBE
    assert relays.wait("ses") == FIRST_PROBE
    assert relays.wait("other") == 0.0
    clock.now += FIRST_PROBE
    assert relays.wait("ses") == 0.0


def test_the_trouble_of_one_process_is_known_to_all_within_seconds(fleet, clock):
    one, other = fleet("w:1"), fleet("w:2")
    assert other.wait("ses") == 0.0
    one.troubled("ses", TROUBLE)
    clock.now += LOOK_EVERY
    assert other.wait("ses") == FIRST_PROBE - LOOK_EVERY


def test_of_all_processes_one_asks_at_a_time(fleet, clock):
    processes = [fleet(f"w:{number}") for number in range(5)]
    processes[0].troubled("ses", TROUBLE)
    clock.now += FIRST_PROBE
    assert [each.wait("ses") == 0.0 for each in processes].count(True) == 1
    assert [each.wait("ses") == 0.0 for each in processes].count(True) == 1


def test_a_probe_that_takes_long_is_kept_by_its_process(fleet, clock):
    one, other = fleet("w:1"), fleet("w:2")
    one.troubled("ses", TROUBLE)
    clock.now += FIRST_PROBE
    assert one.wait("ses") == 0.0
    for _ in range(20):
        clock.now += 20
        one.keep()
        assert other.wait("ses") > 0
    one.leave("ses")
    clock.now += 31
    one.keep()
    assert other.wait("ses") == 0.0


def test_failed_probes_double_the_wait_up_to_a_limit(relays, clock):
    relays.troubled("ses", TROUBLE)
    waits = [fail_probe(relays, clock) for _ in range(9)]
    assert waits[:3] == [2 * FIRST_PROBE, 4 * FIRST_PROBE, 8 * FIRST_PROBE]
    assert waits[-1] == LAST_PROBE


def test_what_others_met_at_the_same_time_is_one_trouble(fleet, ledger):
    for number in range(5):
        assert fleet(f"w:{number}").troubled("ses", TROUBLE) == FIRST_PROBE
    assert ledger.relay_states()["ses"].times == 1


def test_the_answer_to_a_probe_ends_the_trouble_for_all(fleet, clock):
    one, other = fleet("w:1"), fleet("w:2")
    one.troubled("ses", TROUBLE)
    clock.now += FIRST_PROBE
    assert one.wait("ses") == 0.0
    assert other.wait("ses") > 0
    one.answered("ses")
    assert one.wait("ses") == other.wait("ses") == 0.0
    clock.now += LOOK_EVERY
    assert one.troubled("ses", TROUBLE) == FIRST_PROBE


def test_an_answer_over_a_connection_of_before_ends_nothing(fleet):
    one, other = fleet("w:1"), fleet("w:2")
    one.troubled("ses", TROUBLE)
    other.answered("ses")
    assert one.wait("ses") == FIRST_PROBE


def test_waits_are_spread(ledger, clock):
    relays = Relays(ledger, "w:1", lambda _relay: "", clock=clock, jitter=lambda: 1.0)
    assert relays.troubled("ses", TROUBLE) == FIRST_PROBE * 1.25 * 1.25
    assert relays.wait("ses") == FIRST_PROBE * 1.25 * 1.25


def test_trouble_over_the_same_message_again_makes_only_that_one_wait(relays, clock):
    relays.troubled("ses", TROUBLE, over="m1")
    assert relays.wait("ses") == FIRST_PROBE
    clock.now += FIRST_PROBE
    assert relays.troubled("ses", TROUBLE, over="m1") == 2 * FIRST_PROBE
    assert relays.wait("ses") == 0.0


def test_trouble_over_one_message_after_another_is_the_relays(relays, clock):
    relays.troubled("ses", TROUBLE, over="m1")
    clock.now += FIRST_PROBE
    relays.troubled("ses", TROUBLE, over="m2")
    assert relays.wait("ses") == 2 * FIRST_PROBE


# -- credentials


def test_refused_credentials_are_not_tried_again_until_they_change(fleet, clock):
    fleet("w:1").troubled("ses", REFUSED_LOGIN)
    clock.now += 500_000
    assert fleet("w:2").wait("ses") > 0
    assert fleet("w:3", "f2").wait("ses") == 0.0


def test_they_are_told_once_in_one_clear_line(fleet, caplog):
    caplog.set_level(logging.INFO)
    for number in range(5):
        fleet(f"w:{number}").troubled("ses", REFUSED_LOGIN)
    [line] = caplog.messages
    assert line.startswith("action=relay_latched relay=ses stage=auth code=535 reason=5.7.8")
    assert "not asked again until they change" in line


@pytest.mark.parametrize(
    ("error", "fingerprint"),
    [
        (RelayTrouble("auth: 454", stage="auth", code=454), "f1"),
        (RelayTrouble("auth: connection lost", stage="auth"), "f1"),
        (RelayTrouble("greeting: 554", stage="greeting", code=554), "f1"),
        (REFUSED_LOGIN, ""),
    ],
    ids=["for now", "link", "greeting", "a token that changes by itself"],
)
def test_whatever_else_it_is_asked_again_after_a_while(fleet, clock, error, fingerprint):
    relays = fleet(fingerprint=fingerprint)
    assert relays.troubled("ses", error) == FIRST_PROBE
    clock.now += FIRST_PROBE
    assert relays.wait("ses") == 0.0


# -- the ledger away


def test_without_the_ledger_nothing_is_known(relays, ledger):
    ledger.away = True
    with pytest.raises(LedgerUnavailable):
        relays.wait("ses")
    with pytest.raises(LedgerUnavailable):
        relays.troubled("ses", TROUBLE)


def test_a_recovery_that_cannot_be_told_now_is_told_with_the_next_answer(relays, ledger, clock):
    relays.troubled("ses", TROUBLE)
    clock.now += FIRST_PROBE
    relays.wait("ses")
    ledger.away = True
    relays.answered("ses")
    relays.keep()
    ledger.away = False
    assert ledger.relay_states()
    relays.answered("ses")
    assert not ledger.relay_states()


# -- the log


def test_trouble_is_a_warning_once_and_for_each_probe_that_fails(fleet, clock, caplog):
    processes = [fleet(f"w:{number}") for number in range(4)]
    for each in processes:
        each.troubled("ses", TROUBLE)
    fail_probe(processes[2], clock)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    clock.now += LAST_PROBE
    processes[3].wait("ses")
    processes[3].answered("ses")
    assert caplog.messages[-1] == "action=relay_recovered relay=ses"


@pytest.mark.parametrize(("stage", "shown"), [("greeting", True), ("auth", False), ("rcpt", False)])
def test_what_the_relay_said_is_logged_unless_it_may_hold_an_address(relays, caplog, stage, shown):
    text = "4.7.0 ann@example.org blocked"
    relays.troubled("", RelayTrouble(f"{stage}: 421 {text}", stage=stage, code=421, text=text))
    assert (text in caplog.text) == shown
    assert shown or "reason=4.7.0" in caplog.text


def test_the_words_of_a_failed_login_and_of_a_strange_class_are_not_logged(relays, caplog):
    failed = RelayTrouble("auth: UnicodeEncodeError: secret", stage="auth", text="secret")
    failed.__cause__ = UnicodeError("secret")
    relays.troubled("", failed)
    assert "secret" not in caplog.text
    assert "reason=UnicodeError" in caplog.text


def test_a_login_refused_as_it_really_is_names_nobody(relays, caplog):
    relays.troubled("", trouble_with(Reply(535, "5.7.8 ann@example.org unknown"), Stage.AUTH, reconnect=False))
    assert "reason=5.7.8" in caplog.text
    assert "ann@example.org" not in caplog.text


def test_the_log_names_the_default_relay_and_no_reply_text(relays, caplog):
    relays.troubled("", RelayTrouble("login failed", stage="auth", code=435, text="5.7.8 ann@example.org unknown"))
    assert "relay=default" in caplog.text
    assert "stage=auth code=435" in caplog.text
    assert "ann@example.org" not in caplog.text
