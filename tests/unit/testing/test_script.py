"""The steps of a script: what they say, and when they are due."""

from __future__ import annotations

import pytest

from mailqueue.testing.script import Drip, Drop, Endless, Hang, Say, Step, drip, drop, endless, hang, raw, reply


def test_a_step_at_a_stage_that_does_not_exist_is_a_mistake():
    with pytest.raises(ValueError, match="no stage 'recipient'; there are connect"):
        hang("recipient")


def test_nothing_can_be_said_before_a_connection_stands():
    with pytest.raises(ValueError, match="nothing can be said at connect"):
        reply("connect", "421 4.3.2 busy")


@pytest.mark.parametrize(
    ("step", "action"),
    [
        (reply("mail", "250 ok"), Say(b"250 ok\r\n")),
        (reply("mail", "550-5.7.1 no", "550 5.7.1 never"), Say(b"550-5.7.1 no\r\n550 5.7.1 never\r\n")),
        (reply("ehlo", "host", "250 SIZE"), Say(b"250-host\r\n250 SIZE\r\n")),
        (reply("mail", "421 bye"), Say(b"421 bye\r\n", close=True)),
        (reply("mail", "421 bye", close=False), Say(b"421 bye\r\n")),
        (reply("mail", "554 no", close=True), Say(b"554 no\r\n", close=True)),
        (raw("mail", b"?"), Say(b"?")),
        (hang("mail"), Hang()),
        (hang("final", keep=True), Hang(keep=True)),
        (drop("final", keep=True), Drop(keep=True)),
        (drop("content", after=9), Drop(after=9)),
        (drip("mail", "250 ok", interval=0.1), Drip(b"250 ok\r\n", 0.1)),
        (endless("mail", "250-x"), Endless(b"250-x\r\n")),
    ],
)
def test_steps_say_what_they_were_told(step, action):
    assert step.action == action


@pytest.mark.parametrize(
    ("conditions", "due"),
    [({}, [1, 2, 3, 4]), ({"nth": 2}, [2]), ({"times": 2}, [1, 2]), ({"nth": 3, "times": 2}, [])],
)
def test_steps_are_due_each_time_or_as_they_count(conditions, due):
    step = hang("mail", **conditions)
    assert [count for count in range(1, 5) if step.is_due(count)] == due


@pytest.mark.parametrize(
    ("conditions", "stage", "recipients", "connection", "concerned"),
    [
        ({}, "rcpt", ["a@example.com"], 1, True),
        ({}, "mail", [], 1, False),
        ({"to": "A@example.com"}, "rcpt", ["a@EXAMPLE.com"], 1, True),
        ({"to": "a@example.com"}, "rcpt", ["b@example.com"], 1, False),
        ({"to": "a@example.com"}, "rcpt", ["b@example.com", "a@example.com"], 1, True),
        ({"connection": 2}, "rcpt", ["a@example.com"], 2, True),
        ({"connection": 2}, "rcpt", ["a@example.com"], 1, False),
    ],
)
def test_steps_concern_what_their_conditions_name(conditions, stage, recipients, connection, concerned):
    assert Step("rcpt", Hang(), **conditions).concerns(stage, recipients, connection) is concerned
