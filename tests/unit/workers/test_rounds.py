"""A thread that does the same again and again, whatever befalls it."""

from __future__ import annotations

import threading

import pytest

from mailqueue.errors import LedgerFault, LedgerUnavailable
from workers.rounds import Rounds


class Walk(Rounds):
    """Does what it is told in its rounds, and then nothing."""

    def __init__(self, *steps):
        super().__init__("walk", idle=0.001, busy=0.001)
        self.steps = list(steps)
        self.done = threading.Event()

    def once(self):
        if not self.steps:
            self.done.set()
            return 0
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


@pytest.fixture
def walked(caplog):
    def walk(*steps):
        rounds = Walk(*steps)
        rounds.start()
        assert rounds.done.wait(10)
        rounds.stop()
        assert rounds.stopping
        return caplog.messages

    return walk


def test_a_store_that_is_away_is_told_once_and_that_it_is_back(walked):
    away = LedgerUnavailable("away")
    assert walked(1, away, away, away, 0) == ["action=walk_waits reason=away", "action=walk_recovered"]


def test_a_store_that_cannot_do_what_is_asked_of_it_is_an_error_without_a_traceback(walked, caplog):
    assert walked(LedgerFault("WRONGTYPE")) == ["action=walk_failed reason=WRONGTYPE", "action=walk_recovered"]
    assert caplog.records[0].levelname == "ERROR"
    assert not caplog.records[0].exc_info


def test_a_bug_ends_the_round_alone(walked, caplog):
    assert walked(ZeroDivisionError("bug"), 5) == ["action=walk_failed"]
    assert "ZeroDivisionError" in caplog.text
