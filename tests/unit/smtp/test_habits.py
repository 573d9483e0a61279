"""What is learned from connections that were lost."""

from __future__ import annotations

import smtplib
from types import SimpleNamespace

import pytest

from mailqueue.smtp.classify import Stage
from mailqueue.smtp.habits import Habits


def ended(cause=None):
    error = smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
    error.__cause__ = cause or ConnectionError("end of file")
    return error


def served(count):
    return SimpleNamespace(served=count)


def proven():
    habits = Habits()
    habits.kept = 9
    return habits


def test_nothing_is_known_against_a_stranger():
    habits = Habits()
    assert habits.left(served(5)) is None
    assert not habits.plain


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.FINAL])
@pytest.mark.parametrize("cause", [ConnectionError("end of file"), TimeoutError("timed out")])
def test_a_relay_that_fails_at_the_first_window_is_met_plainly(stage, cause):
    habits = Habits()
    habits.lost(ended(cause), stage, served=1)
    assert habits.plain


def test_a_stranger_that_fails_the_test_is_met_plainly_for_an_hour():
    now = [0.0]
    habits = Habits(clock=lambda: now[0])
    habits.tested(passed=False)
    assert habits.plain
    now[0] = 3601.0
    assert (habits.plain, habits.doubted) == (False, True)
    habits.tested(passed=True)
    assert (habits.plain, habits.doubted) == (False, False)


def test_a_relay_that_has_kept_its_word_may_fail_a_test_once():
    habits = proven()
    habits.tested(passed=False)
    assert (habits.plain, habits.doubted) == (False, True)
    habits.tested(passed=False)
    assert habits.plain


def test_a_relay_that_is_gone_has_not_failed():
    habits = Habits()
    for _ in range(3):
        habits.tested(passed=None)
        assert (habits.plain, habits.doubted) == (False, True)


def test_what_was_given_up_for_good_is_not_tried_again():
    now = [0.0]
    habits = Habits(clock=lambda: now[0])
    habits.surprised(chunking=False)
    habits.tested(passed=False)
    now[0] = 1e9
    assert habits.plain


def test_replies_out_of_step_end_the_pipelining():
    habits = Habits()
    habits.surprised(chunking=False)
    assert habits.plain


def test_replies_out_of_step_over_chunks_end_the_chunking_first():
    habits = Habits()
    habits.surprised(chunking=True)
    assert (habits.unchunked, habits.plain) == (True, False)


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RSET])
def test_so_many_messages_a_connection(stage):
    habits = proven()
    habits.lost(ended(), stage, served=10)
    assert (habits.plain, habits.left(served(0)), habits.left(served(7)), habits.left(served(10))) == (False, 10, 3, 0)
    assert habits.window.size == 2


def test_a_message_that_was_turned_away_tells_the_limit():
    habits = Habits()
    habits.limited(20)
    assert (habits.left(served(0)), habits.left(served(20)), habits.plain) == (20, 0, False)


def test_a_limit_is_told_once_and_when_it_changes(caplog):
    habits = proven()
    for limit in (20, 20, 20, 30):
        habits.limited(limit)
    assert caplog.messages == [f"action=message_limit_learned messages={limit}" for limit in (20, 30)]


def test_a_relay_that_takes_nothing_at_all_has_no_limit():
    habits = Habits()
    habits.limited(0)
    assert habits.left(served(0)) is None


@pytest.mark.parametrize(("stage", "cause"), [(Stage.FINAL, None), (Stage.MAIL, TimeoutError("timed out"))])
def test_a_loss_elsewhere_is_no_limit(stage, cause):
    habits = proven()
    habits.lost(ended(cause), stage, served=10)
    assert (habits.plain, habits.left(served(3))) == (False, None)


def test_a_limit_that_was_none_is_forgotten():
    habits = proven()
    habits.lost(ended(), Stage.MAIL, served=10)
    assert habits.left(served(11)) is None
    assert habits.left(served(10)) is None
