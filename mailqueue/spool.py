"""The spool: what the ledger could not take waits here, on this host's disk, until it can.

Messages keep their ids, so that one whose accept had landed all the same is not accepted twice. Leaves the file to
``mailqueue.spoolfile``.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from mailqueue import conf
from mailqueue.codec import Parcel
from mailqueue.errors import IdempotencyConflict, LedgerUnavailable
from mailqueue.lanes import LANES
from mailqueue.ledger import rules
from mailqueue.ledger.base import Submission
from mailqueue.ledger.states import State
from mailqueue.spoolfile import SpoolFile

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mailqueue.ledger.base import Accepted, Ledger
    from mailqueue.publisher import Publisher

__all__ = ["Spool", "SpoolStatus", "Spooled", "open_spool"]

logger = logging.getLogger(__name__)

#: Octets of envelopes and large parts that go to the ledger at a time; one message may be larger.
_OCTETS: Final = 4 * 1024 * 1024
#: s for which rows are one replayer's; if it dies, another takes them then.
_TAKEN: Final = 30.0
#: Part of the retention after which a row is held. The ledger may have taken the message when it was spooled, sent it
#: since, and be about to forget it; the rest is for the difference between the two times.
_FRESH: Final = 0.99
#: s after which a message that is too large to go beside a request does so all the same: no worker has taken it along.
_ALONE: Final = 60.0
#: Pages of the file that are given back to the disk with each replay, once they are free.
_PAGES: Final = 256

_REASON_OLD: Final = "older than MAILQUEUE_RETENTION: it may have been sent, and forgotten"
_REASON_CONFLICT: Final = "its idempotency key was used for another content, by message {}"


@dataclass(frozen=True, slots=True)
class Spooled:
    """One message in the spool. ``at`` is when it was spooled, in s since the epoch; ``size`` is in octets."""

    id: str
    lane: str
    at: float
    size: int
    held: str  # why it is not replayed, or nothing


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What is in the spool: numbers of messages, their octets, and since when the oldest of those waiting waits."""

    path: str
    waiting: int = 0
    held: int = 0
    octets: int = 0
    oldest: float | None = None  # s since the epoch


@dataclass(frozen=True, slots=True)
class _Row:
    seq: int
    submission: Submission


class Spool:
    """Messages on this host's disk, for one ledger. Safe across threads, processes and fork.

    Args:
        path: Its file, on a local disk; made when it is first needed.
        prefix: The ledger's key prefix.
        retention: How long the ledger remembers a message after its end, in s.
        timeout: How long a call may wait for other threads and processes, in s.
        durable: Wait for the fsync of the ledger's store before a row is dropped.
        clock: s since the epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "mailqueue",
        retention: float = 604800.0,
        timeout: float = 1.0,
        durable: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = SpoolFile(path, prefix=prefix, timeout=timeout)
        self._retention = retention
        self._durable = durable
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Spool {self.path}>"

    @property
    def path(self) -> str:
        """Its file."""
        return self._file.path

    def close(self) -> None:
        """Close the file; the spool may be used again."""
        self._file.close()

    # -- in

    def put(self, lane: str, submissions: Iterable[Submission], blobs: Mapping[str, bytes]) -> dict[str, str]:
        """Take all of ``submissions``, or none; when this returns, they are on the disk.

        Returns the id that each is here under: its own, or that of an earlier one with the same idempotency key.

        Args:
            lane: Of all of them.
            submissions: As for the ledger's ``accept``.
            blobs: Their large parts, by content hash.

        Raises:
            SpoolError: It could not take them.
            IdempotencyConflict: The key of one is here with another content.
        """
        now = self._clock()
        under: dict[str, str] = {}
        with self._file.transaction(durable=True) as file:
            for each in submissions:
                options = _options(each)
                key, digest = str(options.get("key", "")), str(options.get("key_digest", ""))
                first = file.execute("SELECT id, digest FROM mail WHERE key = ? AND key != ''", (key,)).fetchone()
                if first and first[0] != each.id:
                    if first[1] != digest:
                        raise IdempotencyConflict(key=key, message_id=first[0])
                    under[each.id] = first[0]
                    continue
                under[each.id] = each.id
                size = len(each.envelope) + sum(len(blobs[name]) for name in each.blobs)
                file.execute(
                    "INSERT OR IGNORE INTO mail (id, lane, at, envelope, options, key, digest, size)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (each.id, lane, now, each.envelope, json.dumps(options), key, digest, size),
                )
                for name in each.blobs:
                    file.execute("INSERT OR IGNORE INTO use VALUES (?, ?)", (each.id, name))
                    file.execute("INSERT OR IGNORE INTO blob VALUES (?, ?)", (name, blobs[name]))
        return under

    # -- out

    def waiting(self) -> bool:
        """Whether there is anything to replay; costs next to nothing. Raises SpoolError."""
        if not self._file.exists:
            return False
        with self._file.transaction(reading=True) as file:
            return file.execute("SELECT 1 FROM mail WHERE held = '' LIMIT 1").fetchone() is not None

    def replay(
        self,
        ledger: Ledger,
        publisher: Publisher,
        limit: int = 500,
        *,
        octets: int = _OCTETS,
        within: float | None = None,
        held: bool = False,
    ) -> int:
        """Have the ledger accept what waits here, oldest first, lane by lane; returns how many messages it took.

        Any number of processes may do so at once: each takes rows of its own. What the ledger had accepted already
        is not accepted again; one whose key was used meanwhile becomes another name for the message under that key.

        Args:
            ledger: Whose prefix is that of the spool.
            publisher: Of the tasks.
            limit: The most messages.
            octets: The most octets at a time; one message may be larger.
            within: Beside a request: begin no call of the ledger later than so many s from now, and send one parcel at
                most, of ``octets`` at most; what is larger waits a minute for a worker to take it along.
            held: Those that are held, too.

        Raises:
            LedgerUnavailable: It still does not take them; they wait here.
            SpoolError: The file could not be read or written.
        """
        if not self._file.exists or not (held or self.waiting()):
            return 0
        self._hold_what_is_old(release=held)
        end = None if within is None else time.monotonic() + within
        done = 0
        for lane in LANES:
            after = 0
            count = min(limit - done, rules.PACK_MESSAGES)
            while count and (rows := self._take(lane, count, octets, after, large=end is None)):
                after = rows[-1].seq
                done += self._forward(lane, rows, ledger, publisher, end)
                if end is not None:
                    return done
                count = min(limit - done, rules.PACK_MESSAGES)
        return done

    def hand_over(self, ids: Iterable[str], ledger: Ledger) -> None:
        """Have the ledger accept those of ``ids`` that wait here, without a task: it is about to be told to cancel them.

        Its accept before they were spooled may still be on the way. What the ledger knows cannot come after it was
        cancelled. Raises LedgerUnavailable, SpoolError: they wait on.
        """
        if not self._file.exists:
            return
        ids = list(ids)
        for lane in LANES:
            rows = self._take_these(lane, ids)
            if rows:
                self._forward(lane, rows, ledger, None, None)

    def _forward(
        self, lane: str, rows: list[_Row], ledger: Ledger, publisher: Publisher | None, end: float | None
    ) -> int:
        """Send rows that are ours to the ledger; they leave the spool, or wait again."""
        try:
            accepted, number = self._accept(lane, rows, ledger, end)
            items = tuple(
                (row.submission.id, row.submission.envelope)
                for row, answer in zip(rows, accepted, strict=True)
                if answer.id == row.submission.id and answer.state is State.QUEUED
            )
            if items and publisher is not None and publisher.publish([Parcel(lane, number, items)]):
                ledger.unpublished([message_id for message_id, _envelope in items])
        except BaseException:
            self._give_back(rows)
            raise
        self._forget(rows)
        logger.info("action=spool_replayed lane=%s messages=%d", lane, len(rows))
        return len(rows)

    def _accept(self, lane: str, rows: list[_Row], ledger: Ledger, end: float | None) -> tuple[Sequence[Accepted], int]:
        """Have the ledger accept ``rows``; those that it must not accept are held, and leave the list."""
        while rows:
            submissions = [row.submission for row in rows]
            try:
                _check_time(end)
                acceptance = ledger.accept(lane, submissions, replayed=True)
                if acceptance.lacking:
                    _check_time(end)
                    ledger.put_blobs(self._blobs(acceptance.lacking))
                    _check_time(end)
                    acceptance = ledger.accept(lane, submissions, replayed=True)
            except IdempotencyConflict as conflict:
                wrong = [row for row in rows if _is_refused(row.submission, conflict)]
                if not wrong:
                    raise
                self._hold(wrong, _REASON_CONFLICT.format(conflict.message_id))
                rows[:] = [row for row in rows if row not in wrong]
                continue
            if acceptance.lacking:
                raise LedgerUnavailable("the ledger's store does not keep large parts: is it evicting keys?")
            if self._durable:
                _check_time(end)
                ledger.durable(1.0)
            return acceptance.accepted, acceptance.number
        return (), 0

    # -- rows

    def _hold_what_is_old(self, *, release: bool) -> None:
        with self._file.transaction() as file:
            if release:
                file.execute("UPDATE mail SET held = '' WHERE held != ''")
                return
            oldest = self._clock() - self._retention * _FRESH
            count = file.execute("UPDATE mail SET held = ? WHERE held = '' AND at < ?", (_REASON_OLD, oldest)).rowcount
        if count:
            logger.error("action=spool_held messages=%d reason=%s", count, _REASON_OLD)

    def _take(self, lane: str, limit: int, octets: int, after: int, *, large: bool = True) -> list[_Row]:
        """Make rows ours for a while: as many as may travel together; none of more than ``octets`` unless ``large``."""
        now = self._clock()
        rows: list[_Row] = []
        with self._file.transaction() as file:
            found = file.execute(
                "SELECT seq, id, envelope, options, size FROM mail WHERE held = '' AND lane = ? AND seq > ?"
                # One taken far into the future was taken before the clock was set back.
                " AND NOT taken BETWEEN ? AND ? AND (size <= ? OR at < ?) ORDER BY seq LIMIT ?",
                (lane, after, now, now + 2 * _TAKEN, octets, math.inf if large else now - _ALONE, limit),
            )
            envelopes = total = 0
            for seq, message_id, envelope, options, size in found:
                envelopes += len(envelope)
                total += size
                if rows and (envelopes > rules.PACK_BYTES or total > octets):
                    break
                rows.append(_Row(seq, _submission(message_id, envelope, options)))
            self._mark(file, rows, taken=now + _TAKEN)
        return rows

    def _take_these(self, lane: str, ids: Iterable[str]) -> list[_Row]:
        """Make those of ``ids`` ours for a while that wait in ``lane``."""
        now = self._clock()
        with self._file.transaction() as file:
            rows = [
                _Row(seq, _submission(message_id, envelope, options))
                for message_id in ids
                for seq, envelope, options in file.execute(
                    "SELECT seq, envelope, options FROM mail"
                    " WHERE id = ? AND lane = ? AND held = '' AND NOT taken BETWEEN ? AND ?",
                    (message_id, lane, now, now + 2 * _TAKEN),
                )
            ]
            self._mark(file, rows, taken=now + _TAKEN)
        return rows

    def _give_back(self, rows: Sequence[_Row]) -> None:
        with self._file.transaction() as file:
            self._mark(file, rows, taken=0)

    def _hold(self, rows: Sequence[_Row], reason: str) -> None:
        with self._file.transaction() as file:
            self._mark(file, rows, taken=0, held=reason)
        logger.error("action=spool_held messages=%d reason=%s", len(rows), reason)

    @staticmethod
    def _mark(file: sqlite3.Connection, rows: Sequence[_Row], *, taken: float, held: str = "") -> None:
        file.executemany("UPDATE mail SET taken = ?, held = ? WHERE seq = ?", [(taken, held, row.seq) for row in rows])

    def _blobs(self, names: Iterable[str]) -> dict[str, bytes]:
        with self._file.transaction(reading=True) as file:
            return {
                name: file.execute("SELECT content FROM blob WHERE hash = ?", (name,)).fetchone()[0] for name in names
            }

    def _forget(self, rows: Sequence[_Row]) -> None:
        """The ledger has these."""
        with self._file.transaction() as file:
            self._delete(file, [row.submission.id for row in rows])

    @staticmethod
    def _delete(file: sqlite3.Connection, ids: Sequence[str]) -> None:
        names: set[str] = set()
        for message_id in ids:
            names.update(name for (name,) in file.execute("SELECT hash FROM use WHERE id = ?", (message_id,)))
            file.execute("DELETE FROM use WHERE id = ?", (message_id,))
            file.execute("DELETE FROM mail WHERE id = ?", (message_id,))
        file.executemany(
            "DELETE FROM blob WHERE hash = ? AND NOT EXISTS (SELECT 1 FROM use WHERE use.hash = blob.hash)",
            [(name,) for name in names],
        )
        file.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()

    # -- for senders and operators

    def envelope(self, message_id: str) -> bytes | None:
        """The encoded envelope of a message that is here. Raises SpoolError."""
        if not self._file.exists:
            return None
        with self._file.transaction(reading=True) as file:
            found = file.execute("SELECT envelope FROM mail WHERE id = ?", (message_id,)).fetchone()
        return bytes(found[0]) if found else None

    def withdraw(self, ids: Iterable[str]) -> list[str]:
        """Drop messages that are here and not on their way to the ledger; returns their ids. Raises SpoolError."""
        if not self._file.exists:
            return []
        now = self._clock()
        with self._file.transaction(durable=True) as file:
            free = [
                message_id
                for message_id in ids
                if file.execute(
                    "SELECT 1 FROM mail WHERE id = ? AND NOT taken BETWEEN ? AND ?",
                    (message_id, now, now + 2 * _TAKEN),
                ).fetchone()
            ]
            self._delete(file, free)
        return free

    def status(self) -> SpoolStatus:
        """Numbers. Raises SpoolError."""
        if not self._file.exists:
            return SpoolStatus(self.path)
        with self._file.transaction(reading=True) as file:
            [(total, held, octets)] = file.execute("SELECT count(*), total(held != ''), total(size) FROM mail")
            [(oldest,)] = file.execute("SELECT min(at) FROM mail WHERE held = ''")
        return SpoolStatus(self.path, total - int(held), int(held), int(octets), oldest)

    def messages(self, limit: int = 100, *, held: bool = False) -> list[Spooled]:
        """The oldest messages that are here: those that wait, or those that are held. Raises SpoolError."""
        if not self._file.exists:
            return []
        with self._file.transaction(reading=True) as file:
            found = file.execute(
                "SELECT id, lane, at, size, held FROM mail WHERE (held != '') = ? ORDER BY seq LIMIT ?", (held, limit)
            )
            return [Spooled(*row) for row in found]


def open_spool() -> Spool | None:
    """The spool of the settings, or None if they name none. Nothing is opened yet."""
    path = conf.get("MAILQUEUE_SPOOL")
    if path is None:
        return None
    return Spool(
        path,
        prefix=conf.get("MAILQUEUE_KEY_PREFIX"),
        retention=conf.get("MAILQUEUE_RETENTION"),
        durable=conf.get("MAILQUEUE_DURABILITY") == "always",
    )


_OPTIONS: Final = tuple(field.name for field in fields(Submission) if field.name not in ("id", "envelope"))


def _options(submission: Submission) -> dict[str, Any]:
    return {name: getattr(submission, name) for name in _OPTIONS}


def _submission(message_id: str, envelope: bytes, options: str) -> Submission:
    given = json.loads(options)
    return Submission(message_id, envelope, **given | {"blobs": tuple(given["blobs"])})


def _is_refused(submission: Submission, conflict: IdempotencyConflict) -> bool:
    return submission.key == conflict.key and submission.id != conflict.message_id


def _check_time(end: float | None) -> None:
    if end is not None and time.monotonic() > end:
        raise LedgerUnavailable("the ledger's store is too slow to replay the spool beside a request")
