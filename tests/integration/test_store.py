"""The embedded store is durable, can be hurt on purpose, and leaves nothing behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from mailqueue.testing import child as child_module
from mailqueue.testing.child import Child, children_of
from mailqueue.testing.environment import clean_environment
from mailqueue.testing.store import EmbeddedValkey, StoreUnavailable

pytestmark = pytest.mark.store


@pytest.fixture
def store():
    with EmbeddedValkey() as server:
        yield server


def client(store: EmbeddedValkey, **options) -> redis.Redis:
    return redis.Redis.from_url(store.url, socket_timeout=5, **options)


def gone(pid: int) -> bool:
    """Whether a process has ended (one that nobody waits for stays as a zombie)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_is_configured_as_a_ledger_should_be(store):
    with client(store) as link:
        assert link.config_get("append*")["appendonly"] == "yes"
        assert link.config_get("appendfsync")["appendfsync"] == "everysec"
        assert link.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert link.config_get("bind")["bind"] == "127.0.0.1"


def test_says_where_its_data_live_and_takes_them_away():
    with pytest.raises(RuntimeError, match="not started"):
        _ = EmbeddedValkey().directory
    with EmbeddedValkey() as store:
        directory = store.directory
        (directory / "beside.txt").write_text("x")
    assert not directory.exists()


def test_takes_further_settings():
    with EmbeddedValkey(appendfsync="always", settings={"maxmemory": "64mb"}) as store, client(store) as link:
        assert link.config_get("appendfsync")["appendfsync"] == "always"
        assert link.config_get("maxmemory")["maxmemory"] == str(64 * 1024 * 1024)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="tells by /proc")
@pytest.mark.parametrize("given", [None, "glibc.malloc.check=0"])
def test_keeps_many_free_chunks_at_hand(given, monkeypatch):
    """Or a store with a million messages searches its memory for cold ones; what the user has tuned stays so."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if given:
        monkeypatch.setenv("GLIBC_TUNABLES", given)
    with EmbeddedValkey() as store:
        environment = Path(f"/proc/{store.pid}/environ").read_text()
    # Some loaders cut the list apart in place.
    assert "tcache_count=2000" in environment
    assert (given or "") in environment


def test_keeps_its_data_and_its_url_over_a_kill(store):
    url, pid = store.url, store.pid
    with client(store) as link:
        link.set("key", "value")
    store.restart()
    assert (store.url, store.pid != pid) == (url, True)
    with client(store) as link:
        assert link.get("key") == b"value"


def test_a_frozen_store_takes_connections_and_answers_nobody(store):
    store.freeze()
    with socket.create_connection(("127.0.0.1", store.port), timeout=5) as link:
        link.settimeout(0.2)
        link.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            link.recv(64)
        store.thaw()
        link.settimeout(5)
        assert link.recv(64) == b"+PONG\r\n"


def test_a_frozen_store_can_still_be_closed():
    store = EmbeddedValkey()
    store.start()
    pid = store.pid
    store.freeze()
    store.close()
    assert gone(pid)


def test_keeps_a_directory_that_was_given(tmp_path):
    for expected in (None, b"value"):
        with EmbeddedValkey(tmp_path / "data") as store, client(store) as link:
            assert link.get("key") == expected
            link.set("key", "value")


def test_a_port_that_is_taken_is_an_error_that_shows_the_servers_own_words():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        store = EmbeddedValkey(port=taken.getsockname()[1])
        with pytest.raises(StoreUnavailable, match="in use"):
            store.start()


def test_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = children_of(os.getpid())
    with EmbeddedValkey() as store:
        pid = store.pid
        assert [path.name[:16] for path in tmp_path.iterdir()] == ["mailqueue-store-"]
    assert gone(pid)
    assert children_of(os.getpid()) == before
    assert list(tmp_path.iterdir()) == []


def test_does_not_outlive_a_parent_that_was_killed(tmp_path):
    program = (
        "import sys, time; from mailqueue.testing.store import EmbeddedValkey\n"
        "with EmbeddedValkey() as store:\n"
        "    print(store.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=clean_environment(TMPDIR=str(tmp_path))
    )
    with parent:
        pid = int(parent.stdout.readline())
        guards = [child for child in children_of(parent.pid) if child != pid]
        assert list(tmp_path.iterdir())
        parent.send_signal(signal.SIGKILL)
    for process in (pid, *guards):
        wait_until_gone(process)
    assert list(tmp_path.iterdir()) == []


def wait_until_gone(pid: int, timeout: float = 10) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(handle) as end:
        assert select.select([end], [], [], timeout)[0], f"process {pid} lives on"


def test_a_child_ends_with_its_whole_group(tmp_path):
    log = tmp_path / "log"
    child = Child(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], log=log)
    child.start()
    while not log.read_text().strip():
        assert child.running
    grandchild = int(log.read_text())
    child.stop()
    child.close()
    wait_until_gone(grandchild)
    assert child.returncode == -signal.SIGTERM


def test_children_are_found_with_and_without_proc(monkeypatch):
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            for listing in (child_module._processes_in_proc, child_module._processes_by_ps):
                monkeypatch.setattr(child_module, "_processes_in_proc", listing)
                assert process.pid in children_of(os.getpid())
        finally:
            process.kill()
