"""The spool's file: made once, closed over a fork, and clear about what is wrong with it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from mailqueue.errors import SpoolError
from mailqueue.spoolfile import SpoolFile
from mailqueue.testing.environment import clean_environment


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


@pytest.fixture
def make(path):
    made = []

    def make(where=path, prefix="mailqueue", timeout=1.0):
        made.append(SpoolFile(where, prefix=prefix, timeout=timeout))
        return made[-1]

    yield make
    for file in made:
        file.close()


def write(file, message_id="m1", **options):
    with file.transaction(**options) as rows:
        rows.execute(
            "INSERT INTO mail (id, lane, at, envelope, options, key, digest, size) VALUES (?, '', 0, '', '', '', '', 0)",
            (message_id,),
        )


def ids(file):
    with file.transaction(reading=True) as rows:
        return [message_id for (message_id,) in rows.execute("SELECT id FROM mail ORDER BY seq")]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def refused(file):
    with pytest.raises(SpoolError) as caught, file.transaction():
        pass
    assert caught.value.path == file.path
    assert file.path in str(caught.value)
    return str(caught.value)


def test_it_is_made_by_the_first_transaction_and_not_before(make, path):
    file = make()
    assert not file.exists
    assert not path.exists()
    write(file)
    assert file.exists
    assert ids(file) == ["m1"]


def test_what_it_holds_is_for_its_owner_alone(make, path):
    write(make())
    for name in ("spool.db", "spool.db-wal", "spool.db-shm"):
        assert mode(path.with_name(name)) == 0o600


def test_permissions_that_were_given_beforehand_stay(make, path):
    path.touch()
    path.chmod(0o660)
    write(make())
    assert mode(path.with_name("spool.db-wal")) == 0o660


def test_it_is_synced_when_that_is_asked_for(make):
    file = make()
    for durable, level in ((True, 2), (False, 1)):
        with file.transaction(durable=durable) as rows:
            assert rows.execute("PRAGMA synchronous").fetchone() == (level,)
            assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_exception_undoes_the_transaction(make):
    file = make()
    write(file)
    with contextlib.suppress(KeyError), file.transaction() as rows:
        rows.execute("DELETE FROM mail")
        raise KeyError
    assert ids(file) == ["m1"]


def test_a_file_that_was_moved_away_is_made_anew(make, path):
    file = make()
    write(file, "before")
    path.rename(path.with_name("away.db"))
    write(file, "after")
    assert ids(file) == ["after"]


def test_many_may_make_it_at_once(path):
    program = f"""
import sys
from mailqueue.spoolfile import SpoolFile

sys.stdin.readline()
file = SpoolFile({str(path)!r}, prefix="mailqueue", timeout=20)
with file.transaction(durable=True) as rows:
    rows.execute(
        "INSERT INTO mail (id, lane, at, envelope, options, key, digest, size) VALUES (?, '', 0, '', '', '', '', 0)",
        sys.argv[1:],
    )
file.close()
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(number)], stdin=subprocess.PIPE, env=clean_environment())
        for number in range(6)
    ]
    for process in running:
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait(60) for process in running] == [0] * 6
    file = SpoolFile(path, prefix="mailqueue")
    assert sorted(ids(file)) == list("012345")
    file.close()


def test_threads_wait_for_each_other(make):
    file = make(timeout=20)
    started = threading.Barrier(8)

    def run(thread):
        started.wait(10)
        for number in range(20):
            write(file, f"{thread}-{number}")

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ids(file)) == 160


def test_a_child_has_the_file_for_itself(make):
    """SQLite's locks are those of a process; a connection that is taken over a fork breaks them."""
    file = make()
    write(file, "parent")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert file._connection is None
            write(file, "child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    write(file, "parent again")
    assert ids(file) == ["parent", "child", "parent again"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # that is what this is about
def test_a_fork_waits_for_the_transaction_of_another_thread(make):
    file = make(timeout=20)
    inside, go_on = threading.Event(), threading.Event()

    def hold():
        with file.transaction() as rows:
            inside.set()
            go_on.wait(10)
            rows.execute("DELETE FROM mail")

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    threading.Timer(0.2, go_on.set).start()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            write(file, "child")
            status = 0
        finally:
            os._exit(status)
    assert go_on.is_set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ids(file) == ["child"]


# -- what is wrong with it


def test_no_directory(make, tmp_path):
    assert "its directory must be there" in refused(make(tmp_path / "absent" / "spool.db"))


def test_a_directory_in_its_place(make, tmp_path):
    assert "cannot be opened" in refused(make(tmp_path))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_no_permission(make, path, tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert "ours to write" in refused(make())
    finally:
        tmp_path.chmod(0o700)


def test_a_file_system_that_is_read_only(make, path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    assert "Read-only file system" in refused(make())


def test_a_text_file(make, path):
    path.write_text("Dear diary, " * 500)
    assert "no spool, or has been damaged: move it away" in refused(make())
    assert path.read_text().startswith("Dear diary")


def test_the_database_of_another_program(make, path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE auth_user (id)")
    other.close()
    assert "belongs to another program" in refused(make())


def test_a_damaged_file(make, path):
    file = make()
    for number in range(200):
        write(file, f"m{number}" * 50)
    file.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(SpoolError, match=r"damaged: move it away.*\.recover"):
        ids(make())


def test_a_newer_release(make, path):
    write(make())
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 9")
    newer.close()
    assert "newer release: upgrade" in refused(make())


def test_the_spool_of_another_application(make):
    write(make(prefix="shop"))
    assert "'shop', not 'blog': give each application a spool of its own" in refused(make(prefix="blog"))


def test_a_full_disk(make):
    file = make()
    write(file)
    pages = 0
    with file.transaction() as rows:
        (pages,) = rows.execute("PRAGMA page_count").fetchone()
    file._connection.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite has instead of a small disk
    with pytest.raises(SpoolError, match="disk is full: free some space"), file.transaction(durable=True) as rows:
        rows.execute("INSERT INTO blob VALUES ('a', zeroblob(100000))")
    write(file, "m2")
    assert ids(file) == ["m1", "m2"]


def test_another_process_that_keeps_it_locked(make, path):
    file = make(timeout=0.05)
    write(file)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolError, match="kept it locked for too long"):
            write(file, "m2")
    other.close()
    write(file, "m3")
    assert ids(file) == ["m1", "m3"]


def test_another_thread_that_keeps_it_locked(make):
    file = make(timeout=0.05)
    with file.transaction(), pytest.raises(SpoolError, match="another thread"), file.transaction():
        pass
