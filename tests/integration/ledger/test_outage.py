"""The ledger when its store is down, frozen, started again, full, or not ours to use."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
import redis

from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable
from mailqueue.ledger.base import Checkup, Ledger, Settlement, Submission
from mailqueue.ledger.open import open_ledger
from mailqueue.ledger.states import State
from mailqueue.testing.store import EmbeddedValkey, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.store


@pytest.fixture
def store() -> Iterator[EmbeddedValkey]:
    """A store of the test's own, to be frozen and killed."""
    with started() as server:
        yield server


@contextlib.contextmanager
def started(**settings: str) -> Iterator[EmbeddedValkey]:
    """A store with further directives of valkey.conf."""
    server = EmbeddedValkey(appendfsync="always", settings=settings)
    try:
        server.start()
    except StoreUnavailable as trouble:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(trouble))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def ledger(store: EmbeddedValkey) -> Iterator[Ledger]:
    opened = open_ledger(store.url, timeout=0.5)
    yield opened
    opened.close()


def accept(ledger: Ledger, *ids: str) -> int:
    return ledger.accept("default", [Submission(each, b"envelope") for each in ids]).number


def spent(call) -> float:
    """How long it takes until the ledger is found unavailable."""
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        call()
    return time.monotonic() - began


def test_a_store_that_is_down_is_told_at_once(store, ledger):
    store.stop()
    assert spent(ledger.ping) < 0.5
    with pytest.raises(LedgerUnavailable, match=f"127.0.0.1:{store.port}/0 cannot be reached: start it"):
        accept(ledger, "a")


def test_a_frozen_store_is_told_within_the_timeout(store, ledger):
    accept(ledger, "a")
    store.freeze()
    try:
        assert spent(lambda: accept(ledger, "b")) < 0.9  # on a pooled connection
        assert spent(lambda: accept(ledger, "b")) < 0.9  # on a new one
        fresh = open_ledger(store.url, timeout=0.5)
        with pytest.raises(LedgerUnavailable, match=r"did not answer within 0\.5 s"):
            fresh.counts()
    finally:
        store.thaw()
    assert accept(ledger, "c") > 0


def test_a_call_that_timed_out_may_have_taken_effect_and_is_safe_to_repeat(store, ledger):
    accept(ledger, "a")
    store.freeze()
    try:
        with pytest.raises(LedgerUnavailable):
            ledger.claim("default", ["a"], token="t", owner="w")
    finally:
        store.thaw()
    assert [grant.id for grant in ledger.claim("default", ["a"], token="t", owner="w").granted] == ["a"]
    assert ledger.counts() == {"default": {"sending": 1}}


def test_a_store_that_was_started_again_is_used_again_without_a_word(store, ledger):
    accept(ledger, "a")
    for _ in range(2):
        store.restart()
        assert ledger.get("a").state is State.QUEUED
    store.restart()
    assert [grant.id for grant in ledger.claim("default", ["a"], token="t", owner="w").granted] == ["a"]


def test_all_connections_of_many_threads_survive_a_restart(store, ledger):
    barrier = threading.Barrier(8)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            barrier.wait()
            for each in range(20):
                accept(ledger, f"{number}-{each}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    for _ in range(2):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.restart()
    assert failures == []
    assert ledger.counts() == {"default": {"queued": 160}}


def test_a_ledger_is_used_on_both_sides_of_a_fork(ledger):
    accept(ledger, "before")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            accept(ledger, *(f"child-{number}" for number in range(50)))
            code = 0 if len(ledger.list(State.QUEUED)) >= 51 else 2
        finally:
            os.write(writer, b"x")
            os._exit(code)
    for number in range(50):
        accept(ledger, f"parent-{number}")
    os.read(reader, 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ledger.counts() == {"default": {"queued": 101}}
    os.close(reader)
    os.close(writer)


def test_a_full_store_takes_no_mail_and_is_drained_all_the_same():
    with started(maxmemory="6mb") as full:
        ledger = open_ledger(full.url)
        ids: list[str] = []
        with pytest.raises(LedgerUnavailable, match="is full"):  # noqa: PT012 - until it is
            for number in range(10_000):
                ledger.accept("default", [Submission(f"m{number}", os.urandom(20_000))])
                ids.append(f"m{number}")
        with pytest.raises(LedgerUnavailable, match="is full"):
            ledger.put_blobs({"h": os.urandom(1_000_000)})
        assert ledger.counts() == {"default": {"queued": len(ids)}}
        ledger.tick()
        for start in range(0, len(ids), 50):
            batch = ids[start : start + 50]
            claim = ledger.claim("default", batch, token="t", owner="w", number=start + 50)
            assert [grant.id for grant in claim.granted] == batch
            assert all(ledger.begin(batch, "t"))
            assert all(ledger.renew(batch, "t"))
            assert all(ledger.record([Settlement(each, State.SENT) for each in batch], "t"))
        ledger.accept("default", [Submission("again", os.urandom(20_000))])


def test_a_read_only_replica_is_named_as_such(store, ledger):
    accept(ledger, "a")
    with redis.Redis.from_url(store.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(LedgerUnavailable, match="read-only replica: point MAILQUEUE_LEDGER_URL at the primary"):
            accept(ledger, "b")
        client.execute_command("REPLICAOF", "NO", "ONE")
    accept(ledger, "b")


@pytest.fixture
def guarded(store: EmbeddedValkey) -> EmbeddedValkey:
    """A store whose default user may nothing, with one user as docs/ledger.md says."""
    with redis.Redis.from_url(store.url) as client:
        rights = "+@read +@write +@fast +@scripting +info +waitaof"
        client.execute_command("ACL", "SETUSER", "mail", "on", ">s3cret", "~{mailqueue}:*", *rights.split())
        client.execute_command("ACL", "SETUSER", "admin", "on", ">s3cret", "~*", "+@all")
        client.execute_command("ACL", "SETUSER", "other", "on", ">s3cret", "~other:*", "+@all")
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">unknown")
    return store


def test_a_user_with_the_documented_rights_can_do_everything(guarded):
    ledger = open_ledger(guarded.url.replace("//", "//mail:s3cret@"))
    ledger.put_blobs({"h": b"x"})
    ledger.accept("default", [Submission("a", b"", blobs=("h",))])
    ledger.claim("default", ["a"], token="t", owner="w", number=1)
    ledger.begin(["a"], "t")
    ledger.record([Settlement("a", State.SENT)], "t")
    ledger.tick()
    ledger.ping()
    assert ledger.get_blobs(["h"]) == {"h": b"x"}
    assert ledger.list(State.QUEUED) == ledger.owners("") == []
    assert ledger.get("a").state is State.SENT
    assert ledger.counts() == {"default": {"sent": 1}}
    assert ledger.counters()["fenced"] == 0
    ledger.accept(
        "default", [Submission("b", b"", key="k", send_at=2e9, expires_at=3e9), Submission("c", b"", key="k")]
    )
    for call in (ledger.hold, ledger.unhold, ledger.cancel, ledger.requeue):
        call(["b"])
    ledger.relay_trouble("", owner="w", delay=1.0)
    ledger.relay_probe("", "w")
    ledger.relay_recovered("")
    ledger.durable(2.0)
    assert ledger.check() == Checkup()


@pytest.mark.parametrize(("right", "call"), [("-info", "check"), ("-waitaof", "durable")])
def test_a_user_may_lack_the_rights_for_what_is_not_asked_of_it(guarded, right, call):
    with redis.Redis.from_url(guarded.url.replace("//", "//admin:s3cret@")) as client:
        client.execute_command("ACL", "SETUSER", "mail", right)
    ledger = open_ledger(guarded.url.replace("//", "//mail:s3cret@"))
    if call == "check":
        assert ledger.check() == Checkup()
    else:
        with pytest.raises(ImproperlyConfigured, match="grant it that command"):
            ledger.durable(2.0)
    ledger.ping()


@pytest.mark.parametrize("login", ["", "mail:wr0ng@", "nobody:s3cret@"])
def test_a_wrong_login_is_told_without_the_password(guarded, login):
    ledger = open_ledger(guarded.url.replace("//", f"//{login}"))
    with pytest.raises(LedgerUnavailable, match="refused our user or password") as caught:
        ledger.ping()
    assert "wr0ng" not in str(caught.value)


def test_a_user_without_rights_is_told_so(guarded):
    ledger = open_ledger(guarded.url.replace("//", "//other:s3cret@"))
    with pytest.raises(LedgerUnavailable, match="grant it"):
        accept(ledger, "a")


def test_a_unix_socket_is_as_good_as_a_port(tmp_path: Path):
    socket = tmp_path / "valkey.sock"
    with started(unixsocket=str(socket)):
        ledger = open_ledger(f"unix://{socket}?db=1")
        assert accept(ledger, "a") == 1
        assert ledger.counts() == {"default": {"queued": 1}}
        assert str(socket) in repr(ledger)
        ledger.close()
