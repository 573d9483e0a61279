"""A real Postfix takes a stream of messages, by BDAT, by DATA in a pipeline and plainly, and says no in all its ways."""

from __future__ import annotations

import re
import ssl

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.mail import EmailMessage
from mailqueue.mail.backends.smtp import EmailBackend
from mailqueue.outcome import Ending

pytestmark = pytest.mark.postfix

KINDS = ["chunking", "pipelining", "plain"]


@pytest.fixture
def backend(postfix):
    """Makes backends for one of its services; "tls" for the one with STARTTLS."""
    made = []

    def make(kind):
        host, port = ("localhost", postfix.port) if kind == "tls" else ("127.0.0.1", postfix.ports[kind])
        found = EmailBackend(host=host, port=port, use_tls=kind == "tls", timeout=30)
        if kind == "tls":
            found.ssl_context = ssl.create_default_context(cafile=str(postfix.ca))
        made.append(found)
        return found

    yield make
    for each in made:
        each.close()


def mail(number, kind, to=(), **changes):
    body = f"Body {number}\n.\n" + "x" * 70 + "\n"
    usual = {"subject": f"Number {number}", "body": body * 20, "from_email": "from@example.com"}
    return EmailMessage(to=[f"n{number}.{kind}@example.com", *to], **(usual | changes))


def deliver(backend, messages):
    """Over as many connections as it takes; the outcomes but for those unsent, and what trouble there was."""
    waiting, outcomes, troubles = dict.fromkeys(messages), [], []
    while waiting:
        try:
            for outcome in backend.deliver(list(waiting)):
                if outcome.ending is not Ending.UNSENT:
                    outcomes.append(outcome)
                if outcome.ending in {Ending.ANSWERED, Ending.UNKNOWN}:
                    del waiting[outcome.message]
        except RelayTrouble as trouble:
            troubles.append(trouble)
    return outcomes, troubles


def codes(outcomes):
    """The code of the reply to each recipient, by the message."""
    found = {}
    for outcome in outcomes:
        results = found.setdefault(outcome.message, {})
        assert results.keys().isdisjoint(outcome.results)
        results |= {to: result.reply.code for to, result in outcome.results.items()}
    return found


def queued(outcomes):
    """Recipients by the queue id in the reply that accepted them."""
    ids = {}
    for outcome in outcomes:
        for to, result in outcome.results.items():
            if match := re.fullmatch(r"2\.0\.0 Ok: (?:\d+ bytes )?queued as (\w+)", result.reply.text):
                ids.setdefault(match[1], []).append(to)
    return {queue_id: sorted(recipients) for queue_id, recipients in ids.items()}


def settled(postfix, accepted):
    """What Postfix's own log says of these ids, once each is done with."""
    wanted = sum(map(len, accepted.values()))
    before = sum(len(found) for queue_id, found in postfix.deliveries().items() if queue_id not in accepted)
    found = postfix.wait_for(before + wanted)
    return {queue_id: sorted(found[queue_id]) for queue_id in accepted}


@pytest.mark.parametrize("kind", [*KINDS, "tls"])
def test_each_message_is_queued_once_under_the_id_that_its_reply_tells(backend, postfix, kind):
    messages = [mail(number, kind) for number in range(150)]
    outcomes, troubles = deliver(backend(kind), messages)
    accepted = queued(outcomes)
    assert troubles == []
    assert len(accepted) == 150
    assert settled(postfix, accepted) == accepted
    assert [outcome.message for outcome in outcomes] == messages


@pytest.mark.parametrize("kind", KINDS)
def test_refusals_are_told_apart_within_a_stream(backend, postfix, kind):
    changes = {
        1: {"to": ["refused@example.com", "later@example.com"]},
        2: {"from_email": "refused@example.com"},
        3: {"subject": "Refused"},
    }
    messages = [mail(number, f"mixed-{kind}", **changes.get(number % 4, {})) for number in range(60)]
    messages += [EmailMessage("None", "x", "from@example.com", ["refused@example.com"]) for _ in range(5)]
    messages.append(mail(99, kind))
    outcomes, troubles = deliver(backend(kind), messages)
    assert troubles == []
    found = codes(outcomes)
    for number, message in enumerate(messages[:60]):
        own = message.to[0]
        expected = [
            {own: 250},
            {own: 250, "refused@example.com": 550, "later@example.com": 450},
            {own: 550},
            {own: 550},
        ][number % 4]
        assert found[message] == expected, number
    assert [found[message] for message in messages[60:65]] == [{"refused@example.com": 550}] * 5
    accepted = queued(outcomes)
    assert settled(postfix, accepted) == accepted


@pytest.mark.parametrize("kind", ["impatient", "impatient-pipelining"])
def test_a_421_in_the_midst_of_a_window_costs_no_message_its_answer(backend, postfix, kind):
    messages = [mail(number, kind) for number in range(60)]
    for number in range(60):
        if number % 10 in (3, 4, 5):  # one of them after the other: what it accepts makes it forget errors
            messages[number].to = ["refused@example.com"]
    outcomes, troubles = deliver(backend(kind), messages)
    # Closing with commands unread, the system may throw away what Postfix has said last: then the 421 is not seen.
    unseen = [trouble for trouble in troubles if trouble.code is None]
    unknown = {outcome.message for outcome in outcomes if outcome.ending is Ending.UNKNOWN}
    assert {trouble.code for trouble in troubles} >= {421}
    assert all(trouble.reconnect for trouble in troubles)
    assert bool(unknown) <= bool(unseen)
    found = codes(outcomes)
    answered = [message for message in messages if message not in unknown]
    assert [found[message] for message in answered] == [
        {message.to[0]: 550 if message.to == ["refused@example.com"] else 250} for message in answered
    ]
    accepted = queued(outcomes)
    assert len(accepted) == sum(message.to != ["refused@example.com"] for message in answered)
    assert settled(postfix, accepted) == accepted


def test_recipients_beyond_its_limit_go_in_another_transaction(backend, postfix):
    messages = [
        mail(number, "few", to=[f"{number}.{other}@example.com" for other in range(number % 4)]) for number in range(40)
    ]
    outcomes, troubles = deliver(backend("few-recipients"), messages)
    assert troubles == []
    found = codes(outcomes)
    assert all(found[message] == dict.fromkeys(message.to, 250) for message in messages)
    accepted = queued(outcomes)
    assert settled(postfix, accepted) == accepted
    assert max(map(len, accepted.values())) == 2
