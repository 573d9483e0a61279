"""Messages at their turn: taken no sooner than asked, given again while something is left of them."""

from __future__ import annotations

import pytest

from mailqueue.mail import EmailMessage
from mailqueue.mail.turn import Feed, Turn
from mailqueue.outcome import Ending, Verdict
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.session import Answer


def mail(number=1, **changes):
    usual = {"subject": f"Message {number}", "body": "x", "from_email": "from@example.com", "to": ["a@example.com"]}
    return EmailMessage(**(usual | changes))


def test_a_message_is_made_ready():
    turn = Turn.of(mail(to=["a@example.com", "Ann <a@example.com>"]))
    assert (turn.mail.sender, turn.mail.recipients, turn.outcome) == ("from@example.com", ("a@example.com",), None)


def test_one_without_recipients_is_not_for_the_relay():
    message = mail(to=[])
    outcome = Turn.of(message).outcome
    assert (outcome.message, outcome.ending, outcome.results, outcome.local) == (message, Ending.ANSWERED, {}, True)


def test_what_is_no_mail_is_refused():
    outcome = Turn.of(mail(subject="a\nb")).outcome
    assert outcome.local
    assert outcome.results["a@example.com"].verdict is Verdict.REFUSED
    assert outcome.reason.startswith("cannot be sent: ")


def test_an_answer_becomes_an_outcome():
    turn = Turn.of(mail())
    answer = Answer(Ending.UNSENT, stage=Stage.MAIL, reply=Reply(421, "4.3.2 bye a@example.com"))
    outcome = turn.end(answer)
    assert (outcome.message, outcome.ending, outcome.reason) == (turn.message, Ending.UNSENT, "mail: 421 4.3.2")
    assert turn.end(Answer(Ending.UNKNOWN, stage=Stage.FINAL)).reason == "final: connection lost"
    assert turn.end(Answer(Ending.ANSWERED)).reason == ""


def test_nothing_is_taken_before_it_is_asked_for():
    taken = []
    feed = Feed(taken.append(n) or mail(n) for n in range(3))
    assert taken == []
    first = feed.take()
    assert taken == [0]
    feed.back(first)
    assert feed.take() is first
    assert [feed.take().message.subject for _ in range(2)] == ["Message 1", "Message 2"]
    assert feed.take() is None
    assert feed.take() is None


@pytest.mark.parametrize("rest", [(), ("b@example.com",)])
def test_what_is_left_of_a_message_is_given_again(rest):
    feed = Feed([mail(to=["a@example.com", "b@example.com"]), mail(2)])
    turn = feed.take()
    feed.go_on(turn, Answer(Ending.PROGRESS if rest else Ending.ANSWERED, rest=rest))
    following = feed.take()
    assert (following is turn) == bool(rest)
    assert following.mail.recipients == (rest or ("a@example.com",))
