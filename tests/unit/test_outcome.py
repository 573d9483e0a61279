"""Outcomes are values: equal by what they say, unchangeable, and fit to travel."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply


def test_outcomes_are_equal_by_what_they_say():
    one = Outcome("m", Ending.ANSWERED, {"a@x": Result(Verdict.ACCEPTED, Reply(250, "ok"))})
    assert one == Outcome("m", Ending.ANSWERED, {"a@x": Result(Verdict.ACCEPTED, Reply(250, "ok"))})
    assert one != Outcome("m", Ending.ANSWERED, {"a@x": Result(Verdict.REFUSED, Reply(550, "no"))})
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize("value", [Outcome("m", Ending.UNSENT), Result(Verdict.DEFERRED, Reply(451))])
def test_nobody_changes_one(value):
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


def test_outcomes_do_not_share_their_results():
    assert Outcome("a", Ending.UNSENT).results is not Outcome("b", Ending.UNSENT).results


def test_verdicts_and_endings_are_words():
    """They stand in records and logs under these names."""
    assert [*Verdict] == ["accepted", "deferred", "refused"]
    assert [*Ending] == ["answered", "progress", "unknown", "unsent"]
    assert json.dumps([Verdict.ACCEPTED, Ending.UNKNOWN]) == '["accepted", "unknown"]'
