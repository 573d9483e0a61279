"""What a delivery tells of the relay, and what it logs."""

from __future__ import annotations

from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.trouble import trouble_with
from workers.drain import drain


def mail(subject="Hello"):
    return EmailMessage(subject, "Body", "app@example.com", ["a@example.com"])


def test_what_the_backend_refuses_by_itself_says_nothing_of_the_relay(process, backend, queue):
    refused = Result(Verdict.REFUSED, Reply(554, "5.6.0 no mail"))

    def deliver(messages, _on_begin):
        for message in messages:
            yield Outcome(message, Ending.ANSWERED, {"a@example.com": refused}, local=True)

    backend.deliver = deliver
    recovered = []
    process.relays.answered = recovered.append
    parcel = queue(mail())
    drain(parcel, process)
    assert process.ledger.get(parcel.items[0][0]).state is State.FAILED
    assert recovered == []


def test_a_message_that_relays_hang_up_on_keeps_the_words_of_the_last_one(process, backend, queue):
    reply = Reply(421, "4.7.0 not this one")

    def hang_up(message):
        if message.subject == "bad":
            return Ending.UNSENT, trouble_with(reply, "rcpt", reconnect=True)
        return None

    backend.before_begin = hang_up
    parcel = queue(mail("bad"), mail("good"))
    drain(parcel, process)
    bad, good = (process.ledger.get(message_id) for message_id, _ in parcel.items)
    assert good.state is State.SENT
    assert bad.state is State.DEFERRED
    assert bad.results["a@example.com"].reply == reply


def test_a_bug_is_logged_without_its_words_which_may_repeat_an_address(process, backend, queue, caplog):
    backend.script = [ZeroDivisionError("someone@example.com")]
    drain(queue(mail()), process)
    assert "action=delivery_failed relay=default reason=ZeroDivisionError deliver.py:" in caplog.text
    assert "someone@example.com" not in caplog.text
