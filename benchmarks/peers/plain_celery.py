"""What people write by themselves: a Celery task that builds the message and sends it with smtplib.

Also its worker's application: ``celery -A benchmarks.peers.plain_celery worker``.
"""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING

from celery import Celery

from benchmarks.letters import SENDER
from benchmarks.peers.produce import port, produce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.letters import Letter

app = Celery("bench", broker=os.environ["BENCH_STORE"])
app.conf.broker_connection_retry_on_startup = True


@app.task(name="send", ignore_result=True)  # type: ignore[untyped-decorator]
def send(subject: str, text: str, html: str, sender: str, recipient: str) -> None:
    """Send one message."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, sender, recipient
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="shop.example")
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    with smtplib.SMTP("127.0.0.1", port()) as relay:
        relay.send_message(message)


class _Tasks:
    """A task a message, whatever the shape: there is nothing else to do."""

    def one(self, item: Letter) -> None:
        send.delay(item.subject, item.text, item.html, SENDER, item.recipient)

    def mass(self, items: Iterable[Letter]) -> None:
        for item in items:
            send.delay(item.subject, item.plain, "", SENDER, item.recipient)

    def attached(self, items: Iterable[Letter], name: str, content: bytes) -> None:
        raise NotImplementedError


if __name__ == "__main__":
    produce(_Tasks())
