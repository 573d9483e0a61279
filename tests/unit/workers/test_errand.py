"""What waits for a connection to one relay."""

from __future__ import annotations

from workers.errand import Errand
from workers.evidence import Tally


def errand(*attempts):
    return Errand("", attempts, Tally(), lambda: False)


def test_what_is_put_back_is_next_in_its_order():
    waiting = errand("a", "b", "c", "d")
    taken = [waiting.take(), waiting.take()]
    waiting.put_back(taken)
    assert waiting.take_all() == ["a", "b", "c", "d"]


def test_what_is_put_last_lets_the_others_go_first():
    waiting = errand("a", "b")
    waiting.put_last(waiting.take())
    assert waiting.take_all() == ["b", "a"]


def test_nothing_is_taken_twice():
    waiting = errand("a")
    assert len(waiting) == 1
    assert [waiting.take(), waiting.take()] == ["a", None]
    assert len(waiting) == 0
