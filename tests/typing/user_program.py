"""A user's program, as a type checker sees it: never run, but checked under ``mypy --strict``.

An ``ignore`` marks a mistake that the types must find; one that is not needed is an error itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.mime.image import MIMEImage
from pathlib import Path
from typing import Any, assert_type

import mailqueue
import mailqueue.mail
import workers
from mailqueue import (
    BrokerUnavailable,
    Cancellation,
    EmailMessage,
    EmailMultiAlternatives,
    IdempotencyConflict,
    MailQueueError,
    MessageNotFound,
    MessageStatus,
    Receipt,
    RecipientStatus,
    State,
    TooManyRecipients,
    Verdict,
    counts,
    enqueue,
    enqueue_many,
    send_mail,
    send_mass_mail,
    status,
)
from mailqueue.conf import Secret
from mailqueue.mail.backends.base import BaseEmailBackend
from mailqueue.outcome import Ending, OnBegin, Outcome, Result
from mailqueue.smtp.reply import Reply


def settings() -> None:
    mailqueue.configure(
        MAILQUEUE_BROKER_URL="redis://localhost:6379/0",
        EMAIL_TIMEOUT=None,
        ADMINS=[("Ann", "ann@example.org")],
    )
    password: str = Secret("of the relay")
    mailqueue.configure(EMAIL_HOST_PASSWORD=password)
    mailqueue.configure({"EMAIL_PORT": 25})  # type: ignore[call-arg]


def as_with_django() -> int:
    sent: int = send_mail("Subject", "Body", None, ["ann@example.org"], html_message="<p>Body</p>")
    sent += send_mass_mail([("Subject", "Body", "shop@example.org", ["ann@example.org"])], using="news")
    mailqueue.mail_admins("Disk full", "Again.")
    with mailqueue.get_connection() as connection:
        sent += connection.send_messages([EmailMessage("Subject", connection=connection)])
    with mailqueue.mailers["office"] as office:
        send_mail("Subject", "Body", None, ["ann@example.org"], connection=office)
    send_mail("Subject", "Body", None)  # type: ignore[call-arg]
    send_mail("Subject", "Body", None, ["ann@example.org"], usign="news")  # type: ignore[call-arg]
    return sent


def a_message() -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        "Subject",
        "Body",
        "shop@example.org",
        ["ann@example.org"],
        cc=("bob@example.org",),
        headers={"Date": dt.datetime.now(dt.UTC)},
    )
    message.attach_alternative("<p>Body</p>", "text/html")
    message.attach("report.txt", "text", "text/plain")
    message.attach(MIMEImage(b"...", "png"))
    message.attach_file(Path("report.pdf"))
    message.to.append("eve@example.org")
    assert_type(message.body_contains("Body"), bool)
    EmailMessage(to=["ann@example.org"], reply_too=["bob@example.org"])  # type: ignore[call-arg]
    return message


def the_full_door(messages: Iterator[EmailMessage]) -> None:
    receipt = enqueue(a_message(), lane="urgent", metadata={"order": 1042}, on_unknown="hold")
    assert_type(receipt, Receipt)
    assert_type(receipt.id, str)
    assert_type(receipt.message_id, str)
    assert_type(receipt.state, State | None)
    assert_type(receipt.accepted_at, float | None)
    assert_type(receipt.status(), MessageStatus)
    assert_type(enqueue_many(messages, using="news"), list[Receipt])
    assert_type(counts(), dict[str, dict[str, int]])
    receipts = enqueue_many(
        messages,
        send_at=dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
        expires_at=dt.timedelta(minutes=5),
        idempotency_key="news-42",
    )
    enqueue_many(messages, idempotency_key=lambda message: message.subject)
    enqueue(a_message(), expires_at=dt.datetime.now(dt.UTC), idempotency_key="order-7")
    enqueue(a_message(), send_at=dt.timedelta(minutes=5))  # type: ignore[arg-type]
    enqueue(a_message(), idempotency_key=lambda message: message.subject)  # type: ignore[arg-type]
    second_thoughts(receipts)
    enqueue(a_message(), "urgent")  # type: ignore[call-arg]
    enqueue(a_message(), lane=1)  # type: ignore[arg-type]


def second_thoughts(receipts: list[Receipt]) -> None:
    answer = receipts[0].cancel()
    assert_type(answer, Cancellation)
    if not answer and answer is Cancellation.LATE:
        assert_type(str(answer), str)
    assert_type(mailqueue.cancel(receipts), dict[str, Cancellation])
    assert_type(mailqueue.hold(receipts[0], reason="ask the office"), dict[str, str])
    assert_type(mailqueue.release("an-id"), dict[str, str])
    assert_type(mailqueue.requeue(state=State.FAILED, lane="bulk", relay="office"), dict[str, str])
    assert_type(mailqueue.resolve(receipts[0], "sent"), State)
    mailqueue.cancel(7)  # type: ignore[arg-type]


def what_became_of_it(message_id: str) -> str:
    try:
        answer = status(message_id)
    except MessageNotFound as error:
        assert_type(error.message_id, str)
        return "unknown here"
    if answer.state is State.SENT:
        return f"sent after {answer.attempts} attempts"
    assert_type(answer.recipients, Mapping[str, RecipientStatus])
    for recipient, said in answer.recipients.items():
        if said.verdict is Verdict.REFUSED and said.reply is not None:
            return f"{recipient}: {said.reply.code} {said.reply.enhanced}"
    answer.state = State.SENT  # type: ignore[misc]
    return str(answer.state)


def trouble() -> tuple[str, ...]:
    try:
        enqueue(a_message())
    except BrokerUnavailable as error:
        return error.message_ids
    except IdempotencyConflict as error:
        return error.key, error.message_id
    except TooManyRecipients as error:
        return (f"{error.count} of {error.limit}",)
    except MailQueueError:
        raise
    return ()


class MyBackend(BaseEmailBackend):
    """A backend of one's own, with an outcome per recipient."""

    def send_messages(self, email_messages: Iterable[Any]) -> int:
        return sum(outcome.ending is Ending.ANSWERED for outcome in self.deliver(email_messages, self._always))

    def deliver(self, messages: Iterable[Any], on_begin: OnBegin) -> Iterator[Outcome]:
        for message in messages:
            if on_begin([message])[0]:
                result = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))
                yield Outcome(message, Ending.ANSWERED, dict.fromkeys(message.recipients(), result))

    @staticmethod
    def _always(messages: Sequence[Any]) -> Sequence[bool]:
        return [True for _ in messages]


def my_own_workers(app: Any) -> None:
    workers.install(app)


def misspelt_names() -> None:
    mailqueue.enqeue(a_message())  # type: ignore[attr-defined]
    mailqueue.mail.send_mial("Subject", "Body", None, [])  # type: ignore[attr-defined]
