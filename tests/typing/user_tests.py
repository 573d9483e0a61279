"""A user's tests with the plugin's fixtures, as a type checker sees them: never run; see ``user_program.py``."""

from __future__ import annotations

from typing import Any, assert_type

import pytest

import mailqueue
from mailqueue.mail.backends.locmem import EmailBackend
from mailqueue.testing import (
    EmbeddedValkey,
    Inbox,
    MemoryQueue,
    ScriptedServer,
    Worker,
    drop,
    outbox,
    queued_at,
    reply,
    sent_to,
    settled,
)


def test_what_was_sent(mailqueue_outbox: list[Any]) -> None:
    mailqueue.send_mail("Subject", "Body", None, ["ann@example.org"])
    assert mailqueue_outbox[0].subject == "Subject"


@pytest.mark.mailqueue(MAILQUEUE_ON_UNKNOWN="hold")
def test_what_became_of_it(mailqueue_memory: MemoryQueue, mailqueue_relay: ScriptedServer) -> None:
    mailqueue_relay.play(reply("rcpt", "451 4.7.1 later", times=1), drop("final", keep=True))
    assert_type(mailqueue_memory.receipts, list[mailqueue.Receipt])
    assert_type(mailqueue_memory.advance(), float)
    assert_type(mailqueue_memory.outbox, list[Any])
    mailqueue_memory.run(60, backend=EmailBackend())
    mailqueue_memory.crash("answered")
    mailqueue_memory.crash("unplugged")  # type: ignore[arg-type]
    with mailqueue_memory.outage():
        mailqueue_memory.runn()  # type: ignore[attr-defined]
    assert_type(mailqueue_relay.messages[0].recipients, tuple[str, ...])


def test_all_of_it(mailqueue_store: EmbeddedValkey, mailqueue_worker: Worker, mailqueue_inbox: Inbox) -> None:
    mailqueue_store.restart()
    mailqueue_worker.kill()
    mailqueue_worker.start()
    mailqueue_inbox.refuse("gone@example.org")
    settled(timeout=10)
    settled("10")  # type: ignore[arg-type]


def without_pytest() -> None:
    with outbox() as messages, ScriptedServer() as relay, sent_to(relay, EMAIL_TIMEOUT=1):
        assert_type(messages, list[Any])
    with EmbeddedValkey() as store, Inbox() as inbox, queued_at(store.url, server=inbox):
        mailqueue.send_mail("Subject", "Body", None, ["ann@example.org"])
    with MemoryQueue(relay, MAILQUEUE_RETRY_DELAYS=[60]) as queue:
        assert_type(queue, MemoryQueue)
