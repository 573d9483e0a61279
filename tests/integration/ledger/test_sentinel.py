"""The ledger behind sentinels: it finds the primary, and the next one after a failover."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
import redis

from mailqueue.errors import LedgerUnavailable
from mailqueue.ledger.base import Submission
from mailqueue.ledger.open import open_ledger
from mailqueue.testing.child import Child
from mailqueue.testing.store import EmbeddedValkey, StoreUnavailable, _binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check, seconds: float = 30.0):
    """The first true answer of ``check``: servers of others signal nothing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.exceptions.RedisError):
            if answer := check():
                return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s")


@pytest.fixture
def primary() -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey()
    try:
        server.start()
    except StoreUnavailable as trouble:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(trouble))
    with contextlib.closing(server):
        yield server


@pytest.fixture
def replica(primary: EmbeddedValkey) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(settings={"replicaof": f"127.0.0.1 {primary.port}"}) as server:
        yield server


@pytest.fixture
def sentinel(primary: EmbeddedValkey, tmp_path: Path) -> Iterator[redis.Redis]:
    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {tmp_path}\n"
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 60000\nsentinel failover-timeout main 3000\n"
    )
    child = Child([str(_binary()), str(settings), "--sentinel"], log=tmp_path / "sentinel.log")
    child.start()
    try:
        with redis.Redis(port=port, decode_responses=True) as client:
            eventually(client.ping)
            yield client
    finally:
        child.stop()
        child.close()


def port_of(sentinel: redis.Redis) -> int:
    return sentinel.connection_pool.connection_kwargs["port"]


def test_the_primary_is_found(primary, sentinel):
    ledger = open_ledger(f"sentinel://127.0.0.1:{free_port()},127.0.0.1:{port_of(sentinel)}/main/1")
    ledger.accept("default", [Submission("a", b"")])
    with redis.Redis(port=primary.port, db=1) as client:
        assert client.exists("{mailqueue}:m:a")
    ledger.close()


def test_a_service_that_no_sentinel_knows_is_told(sentinel):
    ledger = open_ledger(f"sentinel://127.0.0.1:{port_of(sentinel)}/nothing/0")
    with pytest.raises(LedgerUnavailable, match="no primary that its sentinels agree on"):
        ledger.ping()


def test_sentinels_that_are_down_are_told_in_time():
    ledger = open_ledger(f"sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/main/0")
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        ledger.ping()
    assert time.monotonic() - began < 1


def test_after_a_failover_the_new_primary_is_used(primary, replica, sentinel):
    ledger = open_ledger(f"sentinel://127.0.0.1:{port_of(sentinel)}/main/0")
    ledger.accept("default", [Submission("a", b"")])
    eventually(lambda: any(str(replica.port) in name for name in map(str, sentinel.sentinel_slaves("main"))))
    with redis.Redis(port=replica.port) as client:
        eventually(lambda: client.exists("{mailqueue}:m:a"))
    eventually(lambda: sentinel.execute_command("SENTINEL", "FAILOVER", "main"))
    with redis.Redis(port=primary.port) as client:
        eventually(lambda: client.info("replication")["role"] == "slave")

    def accepted() -> bool:
        try:
            return ledger.accept("default", [Submission("b", b"")]).number == 2
        except LedgerUnavailable:
            return False  # in the moment when the old primary is a replica already

    assert eventually(accepted)
    with redis.Redis(port=replica.port) as client:
        assert client.exists("{mailqueue}:m:b")
    ledger.close()
