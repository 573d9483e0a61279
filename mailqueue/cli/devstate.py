"""Where a running ``mailqueue dev`` is found by the commands of another terminal.

A file of the user's own, locked as long as dev runs: a lock ends with its process, so a stale file misleads nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailqueue import conf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["announced", "find", "path", "use_if_unset"]


def path() -> Path:
    """The file: in XDG_RUNTIME_DIR, else among the temporary files, under the user's number."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime or tempfile.gettempdir()) / f"mailqueue-dev-{os.getuid()}.json"


@contextlib.contextmanager
def announced(environment: Mapping[str, str]) -> Iterator[bool]:
    """Announce ``environment`` while the context lasts; False if another dev is announced already."""
    # O_NOFOLLOW: a directory for everybody may hold a link that somebody else has laid.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path(), flags, 0o600)
    except OSError:
        yield False
        return
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        if not _is_ours(handle) or not _lock(handle, fcntl.LOCK_EX):
            yield False
            return
        file.truncate(0)
        json.dump(dict(environment), file)
        file.flush()
        try:
            yield True
        finally:
            path().unlink(missing_ok=True)


def find() -> dict[str, str] | None:
    """The environment that a running dev announces, or None."""
    try:
        handle = os.open(path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, encoding="utf-8") as file:
        if not _is_ours(handle) or _lock(handle, fcntl.LOCK_SH):
            return None  # nobody holds it: its dev has died
        try:
            found = json.load(file)
        except ValueError:
            return None
    return found if isinstance(found, dict) else None


def use_if_unset() -> None:
    """Where no setting names a store, take that of a running dev, and say so."""
    if conf.is_set("MAILQUEUE_BROKER_URL") or conf.is_set("MAILQUEUE_LEDGER_URL"):
        return
    found = find() or {}
    url = found.get("MAILQUEUE_BROKER_URL")
    if url:
        conf.configure(MAILQUEUE_BROKER_URL=url)
        click.echo(f"(with the store of `mailqueue dev`, {url})", err=True)


def _is_ours(handle: int) -> bool:
    """Whether it is a plain file of this user's that nobody else can write."""
    status = os.fstat(handle)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
