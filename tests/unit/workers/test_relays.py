"""The health of relays."""

from __future__ import annotations

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.trouble import trouble_with
from workers.relays import FIRST_PROBE, LAST_PROBE, Relays

TROUBLE = RelayTrouble("refused", stage="connect")


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def relays(now):
    return Relays(clock=lambda: now[0], jitter=lambda: 0.0)


def test_a_relay_that_was_never_in_trouble_is_asked_at_once(relays):
    assert relays.wait("ses") == 0.0


def test_trouble_makes_it_wait_until_the_next_probe(relays, now):
    assert relays.troubled("ses", TROUBLE) == FIRST_PROBE
    assert relays.wait("ses") == FIRST_PROBE
    assert relays.wait("other") == 0.0
    now[0] += FIRST_PROBE
    assert relays.wait("ses") == 0.0


def test_repeated_trouble_doubles_the_wait_up_to_a_limit(relays):
    waits = [relays.troubled("ses", TROUBLE) for _ in range(10)]
    assert waits[:3] == [FIRST_PROBE, 2 * FIRST_PROBE, 4 * FIRST_PROBE]
    assert waits[-1] == LAST_PROBE


def test_an_answer_ends_the_trouble(relays):
    relays.troubled("ses", TROUBLE)
    relays.answered("ses")
    assert relays.wait("ses") == 0.0
    assert relays.troubled("ses", TROUBLE) == FIRST_PROBE


def test_trouble_over_the_same_message_again_makes_only_that_one_wait(relays, now):
    relays.troubled("ses", TROUBLE, over="m1")
    assert relays.wait("ses") == FIRST_PROBE
    now[0] += FIRST_PROBE
    assert relays.troubled("ses", TROUBLE, over="m1") == 2 * FIRST_PROBE
    assert relays.wait("ses") == 0.0


def test_trouble_over_one_message_after_another_is_the_relays(relays, now):
    relays.troubled("ses", TROUBLE, over="m1")
    now[0] += FIRST_PROBE
    relays.troubled("ses", TROUBLE, over="m2")
    assert relays.wait("ses") == 2 * FIRST_PROBE


def test_trouble_over_no_message_is_the_relays(relays):
    relays.troubled("ses", TROUBLE)
    relays.troubled("ses", TROUBLE)
    assert relays.wait("ses") == 2 * FIRST_PROBE


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
    relays.troubled("", RelayTrouble("login failed", stage="auth", code=535, text="5.7.8 ann@example.org unknown"))
    assert "relay=default" in caplog.text
    assert "stage=auth code=535" in caplog.text
    assert "ann@example.org" not in caplog.text
