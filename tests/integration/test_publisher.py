"""Publishing to real brokers over each way that a URL can name."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from redis import Redis

from mailqueue.codec import Parcel
from mailqueue.conf.url import for_kombu
from mailqueue.lanes import queue_name
from mailqueue.publisher import Publisher
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
    assert {json.loads(task)["properties"]["body_encoding"] for task in raw} == {"base64"}


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
