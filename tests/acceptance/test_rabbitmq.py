"""Publishing to a real RabbitMQ: confirms, connections that die, forks, a broker that keeps silent."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from kombu import Connection

from mailqueue.codec import Parcel
from mailqueue.lanes import LANES, queue_name
from mailqueue.publisher import Publisher

pytestmark = pytest.mark.rabbitmq

DEADLINE = 2.0


class Door:
    """A way to a server that can be frozen: connections stay, and nothing passes."""

    def __init__(self, host, port):
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.open = threading.Event()
        self.open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.open.set()
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        with contextlib.suppress(OSError), link, socket.create_connection(self._target) as server:
            other = {link: server, server: link}
            while True:
                for source in select.select([link, server], [], [], 30)[0]:
                    self.open.wait()
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)


@pytest.fixture
def channel(rabbitmq_url):
    with Connection(rabbitmq_url) as connection:
        channel = connection.default_channel
        for lane in LANES:
            channel.queue_delete(queue_name(lane))
        yield channel


def parcels(count, first=1):
    return [Parcel("default", number, ((f"m{number}", b'{"v":1}'),)) for number in range(first, first + count)]


def numbers(channel):
    """The numbers of the tasks that wait, oldest first."""
    found = []
    while (message := channel.basic_get(queue_name("default"), no_ack=True)) is not None:
        assert message.properties["delivery_mode"] == 2
        assert message.properties["application_headers"]["task"] == "workers.tasks.deliver"
        [args, _kwargs, _embed] = json.loads(message.body)
        found.append(Parcel.from_wire(args[0]).number)
    return found


def test_tasks_are_published_and_confirmed_in_order(rabbitmq_url, channel):
    publisher = Publisher(rabbitmq_url)
    assert publisher.publish(parcels(20)) == []
    assert publisher.publish(parcels(1, first=21)) == []
    assert numbers(channel) == list(range(1, 22))
    publisher.close()


def test_queues_are_durable_and_bound_as_the_workers_declare_them(rabbitmq_url, channel):
    publisher = Publisher(rabbitmq_url)
    publisher.publish(parcels(1))
    for lane in LANES:
        quorum = {"x-queue-type": "quorum"}
        channel.queue_declare(queue_name(lane), durable=True, auto_delete=False, arguments=quorum)
        channel.exchange_declare(queue_name(lane), "direct", durable=True, auto_delete=False)
    publisher.close()


def test_a_connection_that_died_is_replaced(rabbitmq_url, channel):
    publisher = Publisher(rabbitmq_url)
    publisher.publish(parcels(1))
    [line] = publisher._idle
    line._connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)
    assert publisher.publish(parcels(1, first=2)) == []
    assert numbers(channel) == [1, 2]
    publisher.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_connection_alone(rabbitmq_url, channel):
    publisher = Publisher(rabbitmq_url)
    publisher.publish(parcels(1))
    [line] = publisher._idle
    pid = os.fork()
    if pid == 0:
        left = parcels(1, first=2)
        try:
            left = publisher.publish(left)
            publisher.close()
        finally:
            os._exit(len(left))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert publisher.publish(parcels(1, first=3)) == []
    assert publisher._idle == [line]
    assert numbers(channel) == [1, 2, 3]
    publisher.close()


@pytest.mark.parametrize("used", [True, False], ids=["used", "new"])
def test_a_broker_that_keeps_silent_is_given_up_within_the_deadline(rabbitmq_url, channel, used):
    server = urlsplit(rabbitmq_url)
    door = Door(server.hostname, server.port)
    publisher = Publisher(rabbitmq_url.replace(f":{server.port}", f":{door.port}"), deadline=DEADLINE)
    if used:
        assert publisher.publish(parcels(1)) == []
    door.open.clear()
    began = time.monotonic()
    some = parcels(3, first=2)
    assert publisher.publish(some) == some
    assert time.monotonic() - began < DEADLINE + 0.5
    door.close()
