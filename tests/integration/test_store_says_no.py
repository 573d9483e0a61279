"""Each way that a store says no, from the producer's seat: the spool if there is one, else an error that says what to do."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from redis.exceptions import ResponseError

import mailqueue
from mailqueue import conf
from mailqueue.producer import get_producer
from mailqueue.testing.store import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.store

DEADLINE = 2.0
#: s; what a busy machine may add to a deadline.
GRACE = 1.0


def settings(url, **more):
    conf.configure(MAILQUEUE_BROKER_URL=url, MAILQUEUE_DEADLINE=DEADLINE, **more)


def message(number=0):
    return mailqueue.EmailMessage(f"Number {number}", "text " * 100, "f@example.com", ["t@example.com"])


# -- the stores


@contextlib.contextmanager
def refused() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def frozen() -> Iterator[str]:
    with EmbeddedValkey() as store:
        store.freeze()
        yield store.url
        store.thaw()


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """It takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Packets get lost on the way: not even the connection comes about (its queue is full, and Linux drops the SYN)."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@contextlib.contextmanager
def full() -> Iterator[str]:
    with EmbeddedValkey(settings={"maxmemory": "1mb", "maxmemory-policy": "noeviction"}) as store:
        yield store.url


@contextlib.contextmanager
def replica() -> Iterator[str]:
    """After a failover: it is not the primary any more."""
    with EmbeddedValkey() as store, Redis.from_url(store.url) as client:
        client.replicaof("127.0.0.1", "1")
        yield store.url


@contextlib.contextmanager
def disk_full() -> Iterator[str]:
    """Its snapshots fail, as they do on a full disk: there is a directory in the place of their file."""
    options = {"appendonly": "no", "save": "3600 1", "dbfilename": "snapshot"}
    with EmbeddedValkey(settings=options) as store, Redis.from_url(store.url) as client:
        directory = client.config_get("dir")["dir"]
        (Path(directory) / "snapshot").mkdir()
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield store.url


@contextlib.contextmanager
def locked() -> Iterator[str]:
    with EmbeddedValkey() as store, Redis.from_url(store.url) as client:
        client.config_set("requirepass", "secret")
        yield store.url


@contextlib.contextmanager
def wrong_password() -> Iterator[str]:
    with locked() as url:
        yield url.replace("redis://", "redis://:guess@")


@contextlib.contextmanager
def forbidden() -> Iterator[str]:
    """Our user may read, and not more."""
    with EmbeddedValkey() as store, Redis.from_url(store.url) as client:
        client.execute_command("ACL", "SETUSER", "web", "on", ">secret", "~*", "&*", "+@read", "+@connection")
        yield store.url.replace("redis://", "redis://web:secret@")


@contextlib.contextmanager
def answering(error: bytes) -> Iterator[str]:
    """A store that has one answer to everything, for what a real one cannot be brought to say in a test."""

    def serve(link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            while data := link.recv(65536):
                # A command begins with "*"; redis-py writes each in one piece, or several in one.
                link.sendall(error * max(1, data.count(b"\r\n*") + data.startswith(b"*")))

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        server.shutdown(socket.SHUT_RDWR)


def until(done, timeout=10.0):
    """Wait for what the store itself does in the background, and gives no signal of."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"
FEW_REPLICAS = b"-NOREPLICAS Not enough good replicas to write.\r\n"
NO_PRIMARY = b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"

#: What stands for each, what is the matter in the error's words, and what to do about it.
WAYS = [
    pytest.param(refused, "cannot be reached", "start it", id="refused"),
    pytest.param(frozen, "did not answer within", "overloaded or frozen", id="frozen"),
    pytest.param(silent, "did not answer within", "the network is broken", id="silent"),
    pytest.param(black_hole, "did not answer within", "the network is broken", id="black-hole"),
    pytest.param(full, "is full", "raise its maxmemory", id="OOM"),
    pytest.param(replica, "read-only replica", "point MAILQUEUE_LEDGER_URL at the primary", id="READONLY"),
    pytest.param(lambda: answering(LOADING), "loading its data", "answers when that is done", id="LOADING"),
    pytest.param(disk_full, "cannot write to its disk", "free disk space", id="MISCONF"),
    pytest.param(locked, "refused our user or password", "correct MAILQUEUE_LEDGER_URL", id="NOAUTH"),
    pytest.param(wrong_password, "refused our user or password", "correct MAILQUEUE_LEDGER_URL", id="WRONGPASS"),
    pytest.param(forbidden, "does not let our user", "grant it", id="NOPERM"),
    pytest.param(lambda: answering(FEW_REPLICAS), "too few replicas", "min-replicas-to-write", id="NOREPLICAS"),
    pytest.param(lambda: answering(NO_PRIMARY), "has lost its primary", "replica", id="MASTERDOWN"),
]


@pytest.mark.parametrize(("way", "what", "remedy"), WAYS)
def test_without_a_spool_the_error_says_what_is_wrong_where_and_what_to_do(way, what, remedy):
    with way() as url:
        settings(url)
        began = time.monotonic()
        with pytest.raises(mailqueue.BrokerUnavailable) as caught:
            mailqueue.enqueue(message())
        assert time.monotonic() - began < DEADLINE + GRACE
        get_producer().close()
    text = str(caught.value)
    assert what in text
    assert remedy in text
    assert url.rpartition("@")[2].removeprefix("redis://") in text
    assert "secret" not in text
    assert "guess" not in text
    assert len(caught.value.message_ids) == 1


@pytest.mark.parametrize(("way", "what", "remedy"), WAYS)
def test_with_a_spool_the_message_is_accepted_and_sent_on_once(way, what, remedy, tmp_path, valkey_url, caplog):
    with way() as url:
        settings(url, MAILQUEUE_SPOOL=tmp_path / "spool.db")
        began = time.monotonic()
        receipt = mailqueue.enqueue(message(1))
        assert time.monotonic() - began < DEADLINE + GRACE
        assert receipt.spooled
        receipts = mailqueue.enqueue_many(message(number) for number in range(2, 12))
        assert all(each.spooled for each in receipts)
        get_producer().close()
    assert what in caplog.text
    settings(valkey_url)
    last = mailqueue.enqueue(message(12))
    assert get_producer().spool.status().waiting == 0
    assert {each.status().state for each in [receipt, *receipts, last]} == {mailqueue.State.QUEUED}
    assert mailqueue.counts() == {"default": {"queued": 12}}


@pytest.mark.parametrize("way", [frozen, silent, black_hole])
def test_with_a_spool_only_one_caller_waits_for_a_store_that_is_silent(way, tmp_path):
    with way() as url:
        settings(url, MAILQUEUE_SPOOL=tmp_path / "spool.db")
        mailqueue.enqueue(message())
        began = time.monotonic()
        for number in range(5):
            assert mailqueue.enqueue(message(number)).spooled
        assert time.monotonic() - began < 0.5
        get_producer().close()


# -- a failover in mid-call


class Proxy:
    """Stands before a store. The first ``cuts`` answers to a script with our messages never come back: the link breaks."""

    def __init__(self, store: EmbeddedValkey, cuts: int) -> None:
        self._store = store
        self._server = socket.create_server(("127.0.0.1", 0))
        self.cuts = cuts
        self.landed = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._server.accept()[0],), daemon=True).start()

    def _serve(self, link):
        asked = b""
        with link, socket.create_connection(("127.0.0.1", self._store.port)) as store, contextlib.suppress(OSError):
            while True:
                for ready in select.select([link, store], [], [])[0]:
                    data = ready.recv(1 << 20)
                    if not data:
                        return
                    if ready is link:
                        asked += data
                        store.sendall(data)
                        continue
                    if b"EVAL" in asked and b"NOSCRIPT" not in data and self.cuts > 0:
                        self.cuts -= 1
                        self.landed.release()
                        return
                    asked = b""
                    link.sendall(data)


@pytest.fixture
def proxy():
    made = []
    with EmbeddedValkey() as store:

        def start(cuts):
            made.append(Proxy(store, cuts))
            return made[-1]

        start.url = store.url
        yield start
        get_producer().close()
        for one in made:
            one.close()


def test_an_answer_that_is_lost_once_is_asked_for_again(proxy):
    between = proxy(1)
    settings(between.url)
    receipt = mailqueue.enqueue(message())
    assert between.landed.acquire(timeout=5)
    assert receipt.state is mailqueue.State.QUEUED
    settings(proxy.url)
    assert mailqueue.counts() == {"default": {"queued": 1}}


def test_without_a_spool_a_lost_answer_is_known_by_its_id(proxy):
    settings(proxy(10).url)
    with pytest.raises(mailqueue.BrokerUnavailable, match="cannot be reached") as caught:
        mailqueue.enqueue(message())
    settings(proxy.url)
    assert mailqueue.status(caught.value.message_ids[0]).state is mailqueue.State.QUEUED


def test_with_a_spool_what_had_landed_is_there_once(proxy, tmp_path):
    settings(proxy(10).url, MAILQUEUE_SPOOL=tmp_path / "spool.db")
    receipts = [mailqueue.enqueue(message(number)) for number in range(3)]
    assert all(receipt.spooled for receipt in receipts)
    settings(proxy.url)
    mailqueue.enqueue(message(3))
    assert get_producer().spool.status().waiting == 0
    assert mailqueue.counts() == {"default": {"queued": 4}}
    assert {receipt.status().state for receipt in receipts} == {mailqueue.State.QUEUED}


def test_with_a_key_it_may_even_be_enqueued_again(proxy):
    settings(proxy(10).url)
    with pytest.raises(mailqueue.BrokerUnavailable) as caught:
        mailqueue.enqueue(message(), idempotency_key="order-7")
    settings(proxy.url)
    receipt = mailqueue.enqueue(message(), idempotency_key="order-7")
    assert receipt.id == caught.value.message_ids[0]
    assert mailqueue.counts() == {"default": {"queued": 1}}


def test_two_producers_that_race_under_one_key_get_one_receipt(valkey_url):
    settings(valkey_url)
    get_producer()
    started = threading.Barrier(8)
    receipts = []

    def run():
        started.wait(10)
        receipts.append(mailqueue.enqueue(message(), idempotency_key="order-7"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({receipt.id for receipt in receipts}) == 1
    assert len({receipt.message_id for receipt in receipts}) == 1
    assert mailqueue.counts() == {"default": {"queued": 1}}


# -- durability


def test_where_fsync_counts_enqueueing_waits_for_it():
    with EmbeddedValkey(appendfsync="everysec") as store:
        settings(store.url, MAILQUEUE_DURABILITY="always")
        receipts = [mailqueue.enqueue(message(number)) for number in range(3)]
        store.restart()  # by SIGKILL
        assert {receipt.status().state for receipt in receipts} == {mailqueue.State.QUEUED}
        get_producer().close()


def test_a_store_without_an_append_only_file_cannot_promise_that():
    with EmbeddedValkey(settings={"appendonly": "no"}) as store:
        settings(store.url, MAILQUEUE_DURABILITY="always")
        with pytest.raises(
            mailqueue.ImproperlyConfigured, match=r"MAILQUEUE_DURABILITY is always.*set appendonly to yes"
        ):
            mailqueue.enqueue(message())
        assert mailqueue.counts() == {}
        get_producer().close()


def test_a_disk_that_is_too_slow_is_no_success():
    with EmbeddedValkey() as store, Redis.from_url(store.url) as client:
        settings(store.url, MAILQUEUE_DURABILITY="always")
        mailqueue.enqueue(message())
        client.config_set("appendfsync", "no")  # the kernel's own time, tens of seconds
        with pytest.raises(mailqueue.BrokerUnavailable, match="has not synced to its disk"):
            mailqueue.enqueue(message())
        with contextlib.suppress(ResponseError):
            client.config_set("appendfsync", "everysec")
        get_producer().close()
