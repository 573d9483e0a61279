"""A campaign to people who can leave it: signed on the wire, left with a click while it is queued, refusals learned."""

from __future__ import annotations

import base64
import re
import threading
import time

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mailqueue import EmailMessage, bulk, conf
from mailqueue.bulk import Template, suppression
from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.bulk.web import Unsubscriptions
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.worker import Worker

pytestmark = pytest.mark.store

TEMPLATE = Template(
    subject="Grüße, {{ name }}",
    text="Dear {{ name }}, you can leave at {{ unsubscribe_url }}",
    from_email="Shop <shop@example.org>",
)
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
PAUSE = threading.Event()


@pytest.fixture
def inbox():
    with Inbox() as inbox:
        yield inbox


@pytest.fixture
def settings(valkey_url, inbox, tmp_path):
    key = tmp_path / "dkim.pem"
    key.write_text(PEM)
    shared = {
        "MAILQUEUE_BROKER_URL": valkey_url,
        "MAILQUEUE_UNSUBSCRIBE_URL": "https://example.org/u",
        "MAILQUEUE_UNSUBSCRIBE_KEYS": "k" * 40,
    }
    conf.configure(**shared)
    relays = f'{{"default": {{"dkim": {{"domain": "example.org", "selector": "s", "key_file": "{key}"}}}}}}'
    return shared | {
        "EMAIL_HOST": inbox.host,
        "EMAIL_PORT": str(inbox.port),
        "MAILQUEUE_RELAYS": relays,
        "MAILQUEUE_TICK_SECONDS": "0.5",
    }


def until(condition, worker, timeout=60.0):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(worker.log[-6000:])
        PAUSE.wait(0.05)


def people(*numbers):
    return [(f"p{number}@example.com", {"name": f"P{number}"}) for number in numbers]


def test_who_leaves_is_left_alone_and_who_is_gone_is_learned(settings, inbox):
    inbox.refuse("p7@example.com")
    bulk.send(TEMPLATE, people(*range(50)), campaign="first", list="news")
    app = Unsubscriptions()
    token = Unsubscribe.from_settings().token("news", "p3@example.com")
    assert app.respond("POST", f"/{token}", "", b"List-Unsubscribe=One-Click").status == 200
    with Worker(settings, concurrency=2) as worker:
        until(lambda: bulk.status("first").ended, worker)
        assert "p3@" not in worker.log
        assert "action=suppressed_refused campaign=first addresses=1" in worker.log
        first = {arrival.recipients[0]: arrival for arrival in inbox.arrivals}
        assert set(first) == {address for address, _ in people(*range(50))} - {"p3@example.com", "p7@example.com"}
        states = {row.address: row.state for row in bulk.export("first")}
        assert (states["p3@example.com"], states["p7@example.com"]) == ("suppressed", "failed")

        for address, arrival in first.items():
            assert dkim.verify(
                arrival.content, dnsfunc=lambda _name, timeout=5: b"v=DKIM1; k=rsa; p=" + base64.b64encode(PUBLIC)
            )
            url = arrival.message["List-Unsubscribe"].strip(" <>")
            assert url in arrival.message.get_content().replace("\n", "")
            assert arrival.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            names = re.sub(r"\s", "", re.search(r"h=([^;]*);", arrival.message["DKIM-Signature"])[1]).split(":")
            assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(names)
            if address in {"p1@example.com", "p2@example.com"}:
                status = app.respond("POST", url.rpartition("/")[2], "", b"List-Unsubscribe=One-Click").status
                assert status == 200

        inbox.clear()
        bulk.send(TEMPLATE, people(*range(10)), campaign="second", list="news")
        bulk.send(TEMPLATE, people(*range(10)), campaign="third", list="offers")
        until(lambda: bulk.status("second").ended and bulk.status("third").ended, worker)
        EmailMessage("Your password", "reset it", "shop@example.org", ["p1@example.com"]).send()
        until(lambda: any(arrival.message["Subject"] == "Your password" for arrival in inbox.arrivals), worker)
    told = sorted(entry.key for entry in suppression.entries("news"))
    assert told == ["p1@example.com", "p2@example.com", "p3@example.com"]
    assert [(entry.key, entry.reason) for entry in suppression.entries("")] == [("p7@example.com", "refused")]
    assert {row.address for row in bulk.export("second") if row.state == "suppressed"} == {
        f"p{number}@example.com" for number in (1, 2, 3, 7)
    }
    assert {row.address for row in bulk.export("third") if row.state == "suppressed"} == {"p7@example.com"}
