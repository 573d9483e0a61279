"""The file of the spool: SQLite in WAL mode, opened late, closed over a fork, its errors told in words.

Leaves what is in it to ``mailqueue.spool``. Safe across threads, processes and fork; local disks only, for SQLite's
locks and shared memory do not work over a network (sqlite.org/wal.html).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from mailqueue.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SpoolFile"]

#: What tells our files from another program's database: "mqsp" in SQLite's field for it.
_APPLICATION: Final = 0x6D717370
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE owner (prefix TEXT NOT NULL);
CREATE TABLE mail (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  lane TEXT NOT NULL,
  at REAL NOT NULL,               -- when it was spooled, s since the epoch
  envelope BLOB NOT NULL,
  options TEXT NOT NULL,          -- the rest of its submission, JSON
  key TEXT NOT NULL,              -- idempotency key, or nothing
  digest TEXT NOT NULL,           -- of the content that goes under the key
  size INTEGER NOT NULL,          -- octets of the envelope and its large parts
  taken REAL NOT NULL DEFAULT 0,  -- until when it is one replayer's
  held TEXT NOT NULL DEFAULT ''   -- why it is not replayed
);
CREATE INDEX mail_by_lane ON mail (held, lane, seq);
CREATE UNIQUE INDEX mail_by_key ON mail (key) WHERE key != '';
CREATE TABLE blob (hash TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE use (id TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (id, hash));
CREATE INDEX use_by_hash ON use (hash);
"""

#: What SQLite's primary result codes mean here, and what to do.
_MEANINGS: Final = {
    "SQLITE_FULL": "its disk is full: free some space, and what is enqueued next goes into it again",
    "SQLITE_IOERR": "its disk does not work: look into the system's log",
    "SQLITE_CANTOPEN": "it cannot be opened: its directory must be there, and ours to write (for SQLite keeps two "
    "files beside it)",
    "SQLITE_PERM": "it cannot be opened: let our user read and write it",
    "SQLITE_READONLY": "it cannot be written: let our user write it and its directory",
    "SQLITE_NOTADB": "it is no spool, or has been damaged: move it away (a new one is made), and point "
    "MAILQUEUE_SPOOL at a file of its own",
    "SQLITE_CORRUPT": "it is damaged: move it away with the files beside it (a new one is made), and save what can "
    "be saved with `sqlite3 FILE .recover`",
    "SQLITE_BUSY": "other processes have kept it locked for too long: is one of them stopped, or its disk too slow?",
    "SQLITE_LOCKED": "other processes have kept it locked for too long: is one of them stopped, or its disk too slow?",
}

#: s that a fork waits for a transaction of another thread.
_FORK: Final = 5.0


class SpoolFile:
    """One SQLite file with the spool's tables; it is made by the first transaction that may.

    Args:
        path: Where it is.
        prefix: The key prefix of the ledger that its mail is for; a file that was made for another one is refused.
        timeout: How long a transaction may wait, half of it for other threads, half for other processes, in s.
    """

    _connection: sqlite3.Connection | None = None  # closed with us: nobody else has it

    def __init__(self, path: str | os.PathLike[str], *, prefix: str, timeout: float = 1.0) -> None:
        self.path = os.fspath(path)
        self._prefix = prefix
        self._patience = timeout / 2
        self._lock = threading.Lock()
        self._identity = (0, 0)
        self._forking = False
        _files.add(self)

    @property
    def exists(self) -> bool:
        """Whether there is a file; one that we cannot look at counts, for its error is to be told."""
        try:
            os.stat(self.path)  # noqa: PTH116 - a microsecond, at every message
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False, reading: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, undisturbed by others; rolled back by any exception.

        Args:
            reading: It writes nothing, and need not wait for other processes.
            durable: Return when it is on the disk; else a power failure may undo it, and nothing is undone that
                came before it.

        Raises:
            SpoolError: says what is wrong with the file, and what to do.
        """
        if not self._lock.acquire(timeout=self._patience):
            raise self._error("SQLITE_BUSY", "another thread is writing")
        try:
            connection = self._open()
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # some errors, of a full disk say, have rolled back already
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._drop()  # whatever is wrong, the next transaction looks at the file anew
            raise self._error(_code(error), str(error)) from error
        finally:
            self._lock.release()

    def __del__(self) -> None:
        self._drop()

    def close(self) -> None:
        """Close the file; the next transaction opens it again."""
        with self._lock:
            self._drop()

    # -- opening

    def _open(self) -> sqlite3.Connection:
        """The connection; a new one if the file is not the one any more that was opened (it was moved away, say)."""
        if self._connection is not None and self._identity != self._on_disk():
            self._drop()
        if self._connection is None:
            self._create()
            end = time.monotonic() + self._patience
            while self._connection is None:
                try:
                    self._connection = self._connect()
                except sqlite3.OperationalError as error:
                    # Two that make the file at once: SQLite does not wait for the change to WAL mode.
                    if not _code(error).startswith("SQLITE_BUSY") or time.monotonic() > end:
                        raise
                    time.sleep(0.005)
            self._identity = self._on_disk()
        return self._connection

    def _create(self) -> None:
        """Make the file, to be read by its owner alone; SQLite gives the files beside it the same permissions."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            name = "SQLITE_FULL" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "SQLITE_CANTOPEN"
            raise self._error(name, error.strerror or str(error)) from error

    def _connect(self) -> sqlite3.Connection:
        # Transactions are ours to begin, and the lock keeps threads apart.
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Asked first: tables that another process makes meanwhile bring their application_id with them.
        empty = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        version, application = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
        )
        if application == 0 and empty:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has to come before the first table
            application = _APPLICATION
        if application != _APPLICATION:
            raise self._error("SQLITE_NOTADB", "it belongs to another program")
        if version > _VERSION:
            raise self._error("", f"it is of version {version}, made by a newer release: upgrade this one")
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise self._error("", "its file system cannot hold it: put it on a local disk")
        connection.execute("PRAGMA journal_size_limit = 1048576")  # what an outage has made of it is given back
        if version < _VERSION:
            self._make_tables(connection)
        found = connection.execute("SELECT prefix FROM owner").fetchone()
        if found is None or found[0] != self._prefix:
            whose = "nobody" if found is None else f"the ledger with the key prefix {found[0]!r}"
            raise self._error("", f"it is for {whose}, not {self._prefix!r}: give each application a spool of its own")

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # else another process was faster
            for statement in _SCHEMA.split(";\n")[:-1]:
                connection.execute(statement)
            connection.execute("INSERT INTO owner VALUES (?)", (self._prefix,))
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")

    def _on_disk(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - as above
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _error(self, name: str, text: str) -> SpoolError:
        # An extended code begins with the name of its primary one: SQLITE_IOERR_WRITE.
        meaning = next((words for code, words in _MEANINGS.items() if name.startswith(code)), "")
        detail = f"{meaning} ({text})" if meaning else text
        return SpoolError(f"the spool {self.path}: {detail}", path=self.path)

    # -- over a fork: SQLite keeps the locks of a process in its memory, and a child must not believe in its parent's

    def before_fork(self) -> None:
        """Wait for the transaction of another thread, and close the file."""
        self._forking = self._lock.acquire(timeout=_FORK)
        if self._forking:
            self._drop()

    def after_fork(self, *, child: bool) -> None:
        """Let transactions go on."""
        if child:
            if self._connection is not None:
                _parents.append(self._connection)
                self._connection = None
            self._lock = threading.Lock()
        elif self._forking:
            self._lock.release()


def _code(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


_files: weakref.WeakSet[SpoolFile] = weakref.WeakSet()
#: Connections that a fork could not wait for: to close one in the child would end its parent's.
_parents: list[sqlite3.Connection] = []


def _before_fork() -> None:
    for file in list(_files):
        file.before_fork()


def _after_fork(*, child: bool) -> None:
    for file in list(_files):
        file.after_fork(child=child)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=functools.partial(_after_fork, child=False),
    after_in_child=functools.partial(_after_fork, child=True),
)
