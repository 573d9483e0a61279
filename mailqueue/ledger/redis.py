"""The ledger in Redis or Valkey: one Lua script a call, one hash tag, the server's clock.

Leaves the rules to the scripts in ``lua/`` and the making of clients to ``open``. Keys and fields: docs/ledger.md.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mailqueue.errors import LedgerUnavailable, MessageNotFound
from mailqueue.ledger import rules, scripts
from mailqueue.ledger.base import (
    Acceptance,
    Accepted,
    Claim,
    Entry,
    Grant,
    Ledger,
    Publication,
    Ticked,
)
from mailqueue.ledger.results import decode_results, encode_results
from mailqueue.ledger.states import State
from mailqueue.ledger.trouble import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

    from mailqueue.ledger.base import Settlement, Submission

__all__ = ["RedisLedger"]


class RedisLedger(Ledger):
    """A ledger behind ``client``, which answers bytes and has its own timeouts. Safe across threads and fork.

    Args:
        client: A redis-py client (``decode_responses=False``, no retries of its own).
        prefix: What the names of all keys begin with, in braces: the hash tag that keeps them in one slot.
        lease_seconds: How long a claim stands without a sign of life, in s.
        retention: How long final records are kept, in s.
        timeout: The client's socket timeout in s, for messages and for the one repetition of a call.
        where: The store's place as operators know it, without credentials, for messages.
        clock_offset: Seconds to be added to the server's clock, asked at every call: for tests, which move time.
    """

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "mailqueue",
        lease_seconds: float = 30.0,
        retention: float = 604800.0,
        timeout: float = 1.0,
        where: str = "its URL",
        clock_offset: Callable[[], float] | None = None,
    ) -> None:
        # redis-py takes 100 ms to import: only where a ledger is made, never in a process that only builds messages.
        from redis import exceptions  # noqa: PLC0415

        self._client: Any = client  # redis-py's types say too little of what execute_command answers
        self._errors = exceptions
        self._scripts = scripts.load()
        self._prefix = f"{prefix}:" if "{" in prefix else f"{{{prefix}}}:"
        self._lease = rules.milliseconds(lease_seconds)
        self._retention = rules.milliseconds(retention)
        self._timeout = timeout
        self._where = where
        self._offset = clock_offset

    def __repr__(self) -> str:
        return f"<RedisLedger {self._prefix}* at {self._where}>"

    # -- producer

    def accept(self, lane: str, submissions: Sequence[Submission], *, restored: bool = False) -> Acceptance:
        if not submissions:
            return Acceptance(0)
        arguments: list[Any] = [lane, int(restored)]
        for each in submissions:
            arguments += (each.id, each.envelope, each.relay, int(each.on_unknown == "hold"), len(each.blobs))
            arguments += each.blobs
        number, lacking, answers = [*self._call("accept", *arguments), []][:3]
        accepted = [
            Accepted(each.id, State(state.decode()), int(at) / 1000, bool(new))
            for each, new, state, at in zip(submissions, answers[::3], answers[1::3], answers[2::3], strict=False)
        ]
        return Acceptance(number, tuple(accepted), tuple(text.decode() for text in lacking))

    def unpublished(self, ids: Sequence[str], *, due_in: float = 2.0) -> None:
        if ids:
            self._call("unpublished", rules.milliseconds(due_in), *ids)

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        if blobs:
            self._call("put_blobs", *(part for item in blobs.items() for part in item))

    def get_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        if not hashes:
            return {}
        contents = self._execute("MGET", *(f"{self._prefix}b:{key}" for key in hashes))
        return {key: content for key, content in zip(hashes, contents, strict=True) if content is not None}

    # -- worker

    def claim(
        self, lane: str, ids: Sequence[str], *, token: str, owner: str, number: int = 0, alone: bool = False
    ) -> Claim:
        ids = list(dict.fromkeys(ids))
        answers = self._call("claim", lane, number, token, owner, int(alone and len(ids) == 1), *ids)
        granted: list[Grant] = []
        refused: dict[str, str] = {}
        missing: list[str] = []
        for message_id, answer in zip(ids, answers, strict=True):
            if answer[:1] == b"+":
                attempts, accepted, suspect, results = answer.split(b" ", 3)
                granted.append(
                    Grant(message_id, int(attempts) + 1, int(accepted) / 1000, decode_results(results), suspect == b"1")
                )
            elif answer:
                refused[message_id] = answer[1:].decode()
            else:
                missing.append(message_id)
        return Claim(tuple(granted), refused, tuple(missing))

    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        return [answer == 1 for answer in self._call("begin", token, *ids)] if ids else []

    def unbegin(self, ids: Sequence[str], token: str) -> None:
        if ids:
            self._call("unbegin", token, *ids)

    def renew(self, ids: Sequence[str], token: str) -> list[bool]:
        return [answer == 1 for answer in self._call("renew", token, *ids)] if ids else []

    def record(self, settlements: Sequence[Settlement], token: str) -> list[bool]:
        if not settlements:
            return []
        rules.settleable(settlements)
        arguments: list[Any] = [token]
        for each in settlements:
            due_in = max(0, rules.milliseconds(each.due_in))
            arguments += (each.id, each.state, encode_results(each.results), due_in, rules.short(each.reason))
        return [answer == 1 for answer in self._call("record", *arguments)]

    def release(self, ids: Sequence[str], token: str, *, due_in: float = 0.0, reason: str = "") -> None:
        if ids:
            self._call("release", token, max(0, rules.milliseconds(due_in)), rules.short(reason), *ids)

    def owners(self, prefix: str) -> list[str]:
        return [owner.decode() for owner in self._call("owners", prefix)]

    def free(self, owner: str) -> int:
        return int(self._call("free", owner))

    def tick(self, limit: int = 500) -> Ticked:
        answer = self._call("tick", limit)
        if not answer:
            return Ticked()
        publications, found = answer
        return Ticked(
            tuple(
                Publication(
                    lane.decode(),
                    number,
                    tuple(
                        (message_id.decode(), content) for message_id, content in zip(*[iter(items)] * 2, strict=True)
                    ),
                    alone == 1,
                )
                for lane, number, alone, *items in publications
            ),
            {name.decode(): count for name, count in zip(*[iter(found)] * 2, strict=True)},
        )

    # -- operator

    def get(self, message_id: str) -> Entry:
        answer = self._call("get", message_id)
        if not answer:
            raise MessageNotFound(message_id)
        flat, due, content, long_results = answer
        record = {name.decode(): value for name, value in zip(*[iter(flat)] * 2, strict=True)}

        def text(name: str) -> str:
            value: bytes = record.get(name, b"")
            return value.decode()

        def number(name: str) -> int:
            return int(record.get(name) or 0)

        results = record.get("x", b"")
        return Entry(
            id=message_id,
            state=State(text("s")),
            lane=text("l"),
            relay=text("r"),
            attempts=number("a"),
            crashes=number("c"),
            unknowns=number("q"),
            accepted_at=number("t") / 1000,
            updated_at=(number("u") or number("t")) / 1000,
            due_at=None if due is None else float(due) / 1000,
            reason=text("w"),
            results=decode_results(long_results or b"" if results == b"+" else results),
            envelope=content,
        )

    def list(self, state: State, *, limit: int = 100) -> list[str]:
        rules.listable(state)
        return [message_id.decode() for message_id in self._call("list", state, limit)] if limit > 0 else []

    def counts(self) -> dict[str, dict[str, int]]:
        answer: dict[str, dict[str, int]] = {}
        for name, number in sorted(self._hash("counts").items()):
            lane, _, state = name.rpartition(":")
            if number:
                answer.setdefault(lane, {})[state] = number
        return answer

    def counters(self) -> dict[str, int]:
        return dict.fromkeys(rules.EVENTS, 0) | self._hash("events")

    def ping(self) -> None:
        self._execute("PING")

    def close(self) -> None:
        self._client.close()
        self._client.connection_pool.disconnect()

    # -- the store

    def _hash(self, name: str) -> dict[str, int]:
        answer = self._execute("HGETALL", f"{self._prefix}{name}")
        items = answer.items() if isinstance(answer, dict) else zip(*[iter(answer)] * 2, strict=True)
        return {field.decode(): int(value) for field, value in items}

    def _call(self, name: str, *arguments: Any) -> Any:
        """Run a script, known to the store by its digest; one that has forgotten it (a restart) gets its source."""
        script = self._scripts[name]
        offset = rules.milliseconds(self._offset()) if self._offset else 0
        fixed = (1, self._prefix, offset, self._lease, self._retention)
        try:
            return self._execute("EVALSHA", script.sha, *fixed, *arguments)
        except self._errors.NoScriptError:
            return self._execute("EVAL", script.source, *fixed, *arguments)

    def _execute(self, *command: Any) -> Any:
        """Send a command; a connection that the store has closed meanwhile is opened anew, once and in time."""
        began = time.monotonic()
        try:
            try:
                return self._client.execute_command(*command)
            except self._errors.ConnectionError:
                # Every operation is safe to repeat. Not after a timeout, which has used up the caller's patience.
                if time.monotonic() - began > self._timeout / 2:
                    raise
                return self._client.execute_command(*command)
        except self._errors.NoScriptError:
            raise
        except (self._errors.RedisError, OSError) as error:
            if isinstance(error, self._errors.ReadOnlyError):
                # The primary has become a replica: connect anew, to whom the name leads by now.
                self._client.connection_pool.disconnect(inuse_connections=False)
            raise LedgerUnavailable(explain(error, self._where, self._timeout)) from error
