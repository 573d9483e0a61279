"""One test, three ways: the same mail through Valkey to our inbox, through RabbitMQ, and to a Postfix over STARTTLS."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import mailqueue
from mailqueue import EmailMessage, EmailMultiAlternatives, conf
from mailqueue.cli.demo import documents
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.store

FAST = {"MAILQUEUE_LEASE_SECONDS": "5", "MAILQUEUE_TICK_SECONDS": "0.5", "MAILQUEUE_RETRY_DELAYS": "1"}


@dataclass
class Way:
    """A broker and a relay: the settings that lead there, and what the relay itself says of whom it delivered to."""

    settings: dict[str, str]
    delivered: Callable[[int], Counter[str]]  # waits for so many recipients
    knows: Callable[[str], bool]  # whether this reply is one that the relay has given


@pytest.fixture
def through_valkey(valkey_url):
    with Inbox() as inbox:
        yield to_inbox(inbox, {"MAILQUEUE_BROKER_URL": valkey_url})


@pytest.fixture
def through_rabbitmq(valkey_url, rabbitmq_url):
    with Inbox() as inbox:
        yield to_inbox(inbox, {"MAILQUEUE_BROKER_URL": rabbitmq_url, "MAILQUEUE_LEDGER_URL": valkey_url})


def to_inbox(inbox, settings):
    def delivered(count):
        arrivals = inbox.wait_for(1, timeout=30)
        while sum(len(arrival.recipients) for arrival in arrivals) < count:
            arrivals = inbox.wait_for(len(arrivals) + 1, timeout=30)
        return Counter(recipient for arrival in arrivals for recipient in arrival.recipients)

    relay = {"EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}
    return Way(settings | relay, delivered, lambda reply: reply == "250 2.0.0 OK, kept")


@pytest.fixture
def to_postfix(valkey_url, postfix):
    before = {queue_id: len(found) for queue_id, found in postfix.deliveries().items()} if postfix.log.exists() else {}

    def delivered(count):
        found = postfix.wait_for(sum(before.values()) + count)
        return Counter(to for queue_id, recipients in found.items() if queue_id not in before for to in recipients)

    def knows(reply):
        # "250 2.0.0 Ok: 512 bytes queued as 4C2F12041F": the id by which Postfix itself accounts for the message; it
        # counts the bytes of what came by BDAT.
        match = re.fullmatch(r"250 2\.0\.0 Ok: (?:\d+ bytes )?queued as (\w+)", reply)
        return match is not None and match[1] in postfix.deliveries()

    settings = {
        "MAILQUEUE_BROKER_URL": valkey_url,
        "EMAIL_HOST": "localhost",
        "EMAIL_PORT": str(postfix.port),
        "EMAIL_USE_TLS": "true",
        "SSL_CERT_FILE": str(postfix.ca),  # of OpenSSL: the certificate must verify
    }
    return Way(settings, delivered, knows)


@pytest.fixture(
    params=[
        "through_valkey",
        pytest.param("through_rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param("to_postfix", marks=pytest.mark.postfix),
    ]
)
def way(request):
    return request.getfixturevalue(request.param)


def mail() -> list[EmailMessage]:
    rich = EmailMultiAlternatives(
        "Grüße",
        "Text\n.\nwith a lone dot\n",
        "Łukasz <lukasz@bücher.example>",
        ["Zoë <zoe@bücher.example>"],
        cc=["cc@example.com"],
        bcc=["bcc@example.com"],
    )
    rich.attach_alternative("<p>Text</p>", "text/html")
    rich.attach("invoice.pdf", documents.pdf(), "application/pdf")
    bulk = [EmailMessage(f"Number {n}", "Hello\n", "app@example.com", [f"user{n}@example.com"]) for n in range(60)]
    return [rich, *bulk]


def test_every_message_is_delivered_once_and_every_recipient_is_accounted_for(way):
    conf.configure(**{name: value for name, value in way.settings.items() if name.startswith("MAILQUEUE_")})
    messages = mail()
    receipts = mailqueue.enqueue_many(messages)
    expected = Counter(recipient for message in messages for recipient in message.recipients())
    with Worker({**way.settings, **FAST}, concurrency=2) as worker:
        await_states(receipts, {"sent": len(messages)}, worker)
        assert worker.stop() == 0
    assert way.delivered(expected.total()) == Counter(
        {on_the_wire(recipient): count for recipient, count in expected.items()}
    )
    for message, receipt in zip(messages, receipts, strict=True):
        status = receipt.status()
        assert (status.attempts, status.unknowns) == (1, 0)
        assert list(status.recipients) == message.recipients()
        assert all(way.knows(str(result.reply)) for result in status.recipients.values())


def on_the_wire(recipient: str) -> str:
    return recipient.replace("Zoë <zoe@bücher.example>", "zoe@xn--bcher-kva.example")


def await_states(receipts, expected, worker, timeout=60):
    pause = threading.Event()
    for _ in range(int(timeout / 0.05)):
        states = Counter(str(receipt.status().state) for receipt in receipts)
        if states == expected:
            return
        assert worker.running, worker.log[-4000:]
        pause.wait(0.05)  # the ledger has no signal to wait for
    pytest.fail(f"{states}\n{worker.log[-4000:]}")
