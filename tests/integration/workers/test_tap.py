"""Taking tasks straight from a real broker: order, room, suspects, and tasks that are not ours."""

from __future__ import annotations

import json
import socket
import time
import zlib
from base64 import b64decode, b64encode
from types import SimpleNamespace

import pytest
from kombu import Connection
from kombu.exceptions import KombuError
from redis import Redis, RedisError

from mailqueue.codec import Parcel
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.publisher import Publisher
from workers import tap as tap_module
from workers.tap import open_tap

pytestmark = pytest.mark.store

FOREIGN = json.dumps(
    {
        "body": "W10=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "somebody.elses"},
        "properties": {
            "delivery_tag": "x",
            "delivery_info": {"exchange": "", "routing_key": "mailqueue.default"},
            "body_encoding": "base64",
        },
    }
)


@pytest.fixture
def publish(valkey_url):
    publisher = Publisher(valkey_url)
    yield lambda *parcels: publisher.publish(parcels)
    publisher.close()


@pytest.fixture
def store(valkey_url):
    with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture(params=["redis", "any"])
def tap(request, valkey_url):
    """The tap made for Redis, and the one for any broker that kombu speaks to, here on Redis as well."""
    connection = Connection(valkey_url)
    if request.param == "any":
        connection.transport.driver_type = "any"
    tap = open_tap(connection, SimpleNamespace(counts=dict))
    yield tap
    tap.close()


def parcel(number, size=1, *, alone=False):
    return Parcel("default", number, tuple((f"m{number}-{n}", b"{}") for n in range(size)), alone)


def numbers(parcels):
    return [parcel.number for parcel in parcels]


def test_an_empty_lane_gives_nothing(tap):
    assert tap.take("default", 100, 1.0) == []


def test_tasks_come_whole_and_oldest_first(tap, publish):
    publish(parcel(1, 2), parcel(2))
    assert tap.take("default", 100, 1.0) == [parcel(1, 2), parcel(2)]


def test_no_more_is_taken_than_there_is_room_for(tap, publish):
    publish(*(parcel(n) for n in range(1, 6)))
    assert numbers(tap.take("default", 3, 1.0)) == [1, 2, 3]
    assert numbers(tap.take("default", 3, 1.0)) == [4, 5]


def test_tasks_larger_than_was_guessed_are_put_back_in_order(tap, publish):
    publish(*(parcel(n, 10) for n in range(1, 6)))
    assert numbers(tap.take("default", 20, 1.0)) == [1, 2]
    assert numbers(tap.take("default", 100, 10.0)) == [3, 4, 5]


def test_a_suspect_ends_the_taking_and_comes_last(tap, publish):
    publish(parcel(1), parcel(2, alone=True), parcel(3))
    assert numbers(tap.take("default", 100, 1.0)) == [1, 2]
    assert numbers(tap.take("default", 100, 1.0)) == [3]


def test_a_task_that_is_not_ours_stays_and_ends_the_taking(tap, publish, store, caplog):
    publish(parcel(1))
    store.lpush("mailqueue.default", FOREIGN)
    publish(parcel(2))
    assert numbers(tap.take("default", 100, 1.0)) == [1]
    assert "action=foreign_task lane=default task=somebody.elses" in caplog.text
    assert store.llen("mailqueue.default") == 2


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
@pytest.mark.parametrize("tap", ["redis"], indirect=True)
def test_our_own_tasks_are_read_without_kombu(tap, publish, store, monkeypatch, encoding):
    publish(parcel(1, 2))
    if encoding == "base64":
        task = json.loads(store.lpop("mailqueue.default"))
        task["properties"]["body_encoding"] = encoding
        task["body"] = b64encode(task["body"].encode()).decode()
        store.lpush("mailqueue.default", json.dumps(task))
    monkeypatch.setattr(tap, "_message", _down)
    assert tap.take("default", 100, 1.0) == [parcel(1, 2)]


@pytest.mark.parametrize("tap", ["redis"], indirect=True)
def test_a_task_of_ours_in_another_form_is_left_to_kombu(tap, publish, store):
    publish(parcel(1, 2))
    task = json.loads(store.lpop("mailqueue.default"))
    text = task["body"] if task["properties"]["body_encoding"] != "base64" else b64decode(task["body"]).decode()
    task["headers"]["compression"] = "application/x-gzip"
    task["properties"]["body_encoding"] = "base64"
    task["body"] = b64encode(zlib.compress(text.encode())).decode()
    store.lpush("mailqueue.default", json.dumps(task))
    assert tap.take("default", 100, 1.0) == [parcel(1, 2)]


@pytest.mark.parametrize("body", ['[[{"v": 99}], {}, {}]', "no JSON"])
def test_a_parcel_that_nobody_can_read_is_left_out(tap, publish, store, caplog, body):
    publish(parcel(1))
    [task] = store.lrange("mailqueue.default", 0, 0)
    broken = json.loads(task)
    broken["body"] = body
    store.lpush("mailqueue.default", json.dumps(broken))
    publish(parcel(2))
    assert numbers(tap.take("default", 100, 1.0)) == [1, 2]
    assert "action=parcel_unreadable" in caplog.text


@pytest.mark.parametrize("garbage", [b"not json", b"{}", b"7", b"[" * 100_000])
@pytest.mark.parametrize("tap", ["redis"], indirect=True)
def test_garbage_among_the_tasks_costs_nobody_else(tap, publish, store, caplog, garbage):
    publish(parcel(1))
    store.lpush("mailqueue.default", garbage)
    publish(parcel(2))
    assert numbers(tap.take("default", 100, 1.0)) == [1, 2]
    assert "action=task_unreadable lane=default" in caplog.text


def test_tasks_in_hand_are_kept_although_garbage_follows(tap, publish, store):
    publish(parcel(1))
    store.lpush("mailqueue.default", b"not json")
    assert numbers(tap.take("default", 100, 1.0)) == [1]


@pytest.mark.parametrize("tap", ["redis"], indirect=True)
def test_tasks_in_hand_are_kept_although_the_others_cannot_be_put_back(tap, publish, monkeypatch, caplog):
    publish(parcel(1, 10), parcel(2))
    monkeypatch.setattr(tap._client, "rpush", _down)
    assert numbers(tap.take("default", 10, 1.0)) == [1]
    assert "action=put_back_failed tasks=1" in caplog.text


def _down(*_arguments):
    raise ConnectionError


SENTINEL = ("sentinel://127.0.0.1:{port}/0", {"master_name": "mymaster", "sentinel_kwargs": {"password": "hunter2"}})


@pytest.mark.parametrize(
    ("url", "options"), [("redis://127.0.0.1:{port}/0", {}), ("amqp://guest:guest@127.0.0.1:{port}//", {}), SENTINEL]
)
@pytest.mark.parametrize("frozen", [True, False])
def test_a_broker_that_is_away_is_not_waited_for(url, options, frozen, monkeypatch):
    """Whether it refuses connections, or takes them and never says a word."""
    for bounds in tap_module._BOUNDS.values():
        for name in bounds:
            monkeypatch.setitem(bounds, name, 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not frozen:
            server.close()
        connection = Connection(url.format(port=port), connect_timeout=0.3, transport_options=dict(options))
        started = time.monotonic()
        with pytest.raises(Exception, match=r".*") as caught:
            open_tap(connection, MemoryLedger()).take("urgent", 1, 1.0)
        assert isinstance(caught.value, (OSError, KombuError, RedisError))
        assert time.monotonic() - started < 3.0


@pytest.mark.parametrize("tap", ["redis"], indirect=True)
def test_waiting_tells_whether_a_lane_has_tasks(tap, publish):
    assert not tap.waiting(["urgent", "default"])
    publish(parcel(1))
    assert tap.waiting(["urgent", "default"])
    assert not tap.waiting(["urgent"])
    assert not tap.waiting([])


def test_of_a_broker_that_hands_out_ahead_the_ledger_tells_what_is_waiting(valkey_url):
    connection = Connection(valkey_url)
    connection.transport.driver_type = "any"
    counts = {"urgent": {"queued": 0, "sent": 2}, "default": {"sending": 1}}
    tap = open_tap(connection, SimpleNamespace(counts=lambda: counts))
    assert not tap.waiting(["urgent", "default"])
    counts["default"]["queued"] = 1
    assert tap.waiting(["urgent", "default"])
    assert not tap.waiting(["urgent"])
    assert not tap.waiting([])
    tap.close()
