"""The ledger in Redis or Valkey: one Lua script a call, one hash tag, the server's clock.

Leaves the rules to the scripts in ``lua/`` and the making of clients to ``open``. Keys and fields: docs/ledger.md.
"""
# ruff: noqa: D102 - the port's docstrings are the documentation

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Final

from mailqueue.errors import IdempotencyConflict, IllegalTransition, LedgerFault, LedgerUnavailable, MessageNotFound
from mailqueue.ledger import disk, rules, scripts
from mailqueue.ledger.base import (
    Acceptance,
    Accepted,
    Claim,
    Entry,
    Grant,
    Ledger,
    Publication,
    RelayMark,
    Setback,
    Ticked,
)
from mailqueue.ledger.client import Client
from mailqueue.ledger.redis_campaigns import RedisCampaigns
from mailqueue.ledger.redis_rates import RedisRates
from mailqueue.ledger.redis_schedules import RedisSchedules
from mailqueue.ledger.redis_suppressions import RedisSuppressions
from mailqueue.ledger.results import decode_results, encode_results
from mailqueue.ledger.states import State
from mailqueue.ledger.trouble import explain, is_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

    from mailqueue.ledger.base import Checkup, Draft, Settlement, Submission
    from mailqueue.ledger.campaigns import Campaigns
    from mailqueue.ledger.schedules import Schedules
    from mailqueue.outcome import Result

__all__ = ["RedisLedger"]

_ASKED: Final = {"cancel": State.CANCELLED, "hold": State.HELD}


class RedisLedger(Ledger):
    """A ledger behind ``client``, which answers bytes and has its own timeouts. Safe across threads and fork.

    Args:
        client: Ours or redis-py's (``decode_responses=False``, no retries of its own).
        prefix: What the names of all keys begin with, in braces: the hash tag that keeps them in one slot.
        lease_seconds: How long a claim stands without a sign of life, in s.
        retention: How long final records are kept, in s.
        timeout: The client's socket timeout in s, for messages and for the one repetition of a call.
        where: The store's place as operators know it, without credentials, for messages.
        clock_offset: Seconds to be added to the server's clock, asked at every call: for tests, which move time.
    """

    def __init__(
        self,
        client: Client | Redis,
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
        # Of the calls that a message's begin stands or falls with: one that we gave up, and asked again over another
        # connection, may still reach the store, and then it must not undo what came after it.
        self._numbers = itertools.count(1)
        self._schedules = RedisSchedules(self._call)
        self.suppressions = RedisSuppressions(self._call, self._execute, self._prefix)
        self._rates = RedisRates(self._call)
        self._campaigns = RedisCampaigns(self._call, self._execute, self._prefix)

    def __repr__(self) -> str:
        return f"<RedisLedger {self._prefix}* at {self._where}>"

    # -- producer

    def accept(
        self,
        lane: str,
        submissions: Sequence[Submission],
        *,
        restored: bool = False,
        replayed: bool = False,
        draft: Draft | None = None,
    ) -> Acceptance:
        if not submissions:
            return Acceptance(0)
        keys = () if draft is None else (draft.key,)
        head, tail = ("", "") if draft is None else (draft.head, draft.tail)
        arguments: list[Any] = [lane, int(restored), int(replayed), head, tail]
        for each in submissions:
            arguments += (each.id, each.envelope, each.relay, _options(each), len(each.blobs), *each.blobs)
        answer = self._call("accept", *arguments, keys=keys)
        if isinstance(answer, bytes):  # all of them are queued by this call
            number, at, published = map(int, answer.split())
            accepted_at = at / 1000
            queued = [Accepted(each.id, State.QUEUED, accepted_at, True, each.id) for each in submissions]
            return Acceptance(number, tuple(queued), published=published == 1)
        number, lacking, *more = answer
        if number < 0:
            place, first = lacking
            raise IdempotencyConflict(key=submissions[int(place)].key, message_id=first.decode())
        if lacking:
            return Acceptance(0, (), tuple(text.decode() for text in lacking))
        answers, repeated = more
        firsts = {asked.decode(): first.decode() for asked, first in zip(*[iter(repeated)] * 2, strict=True)}
        accepted = [
            Accepted(firsts.get(each.id, each.id), State(state.decode()), int(at) / 1000, bool(new), each.id)
            for each, new, state, at in zip(submissions, answers[::3], answers[1::3], answers[2::3], strict=True)
        ]
        return Acceptance(number, tuple(accepted))

    def durable(self, timeout: float) -> None:
        connections = self._client if isinstance(self._client, Client) else self._client.connection_pool
        disk.wait_for_disk(connections, f"{self._prefix}disk", timeout, self._where)

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
        rules.nameable(owner)
        ids = list(dict.fromkeys(ids))
        answer = self._call("claim", lane, number, token, owner, int(alone and len(ids) == 1), _lines(ids))
        granted: list[Grant] = []
        refused: dict[str, str] = {}
        missing: list[str] = []
        for message_id, line in zip(ids, answer.split(b"\n") if ids else (), strict=True):
            if line[:1] == b"+":
                attempts, since, suspect, unknowns, results = line.split(b" ", 4)
                known = decode_results(results)
                granted.append(
                    Grant(message_id, int(attempts) + 1, int(since) / 1000, known, suspect == b"1", int(unknowns))
                )
            elif line:
                refused[message_id] = line[1:].decode()
            else:
                missing.append(message_id)
        return Claim(tuple(granted), refused, tuple(missing))

    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        return _flags(self._call("begin", token, next(self._numbers), _lines(ids))) if ids else []

    def unbegin(self, ids: Sequence[str], token: str) -> None:
        if ids:
            self._call("unbegin", token, next(self._numbers), *ids)

    def renew(self, ids: Sequence[str], token: str) -> list[bool]:
        return [answer == 1 for answer in self._call("renew", token, *ids)] if ids else []

    def record(self, settlements: Sequence[Settlement], token: str) -> list[bool]:
        if not settlements:
            return []
        rules.settleable(settlements)
        lines = [
            b"%b\t%b\t%b\t%d\t%b"
            % (
                each.id.encode(),
                each.state.encode(),
                encode_results(each.results),
                rules.ahead(each.due_in),
                rules.reason_of(each).encode(),
            )
            for each in settlements
        ]
        return _flags(self._call("record", token, next(self._numbers), b"\n".join(lines)))

    def release(self, ids: Sequence[str], token: str, *, due_in: float = 0.0, reason: str = "") -> None:
        if ids:
            self._call("release", token, rules.ahead(due_in), rules.short(reason), *ids)

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

    def cancel(self, ids: Sequence[str]) -> list[str]:
        return self._by_hand("cancel", ids)

    def hold(self, ids: Sequence[str], reason: str = "") -> list[str]:
        return self._by_hand("hold", ids, rules.short(reason))

    def unhold(self, ids: Sequence[str]) -> list[str]:
        return self._by_hand("unhold", ids)

    def requeue(self, ids: Sequence[str]) -> list[str]:
        return self._by_hand("requeue", ids)

    def _by_hand(self, operation: str, ids: Sequence[str], *arguments: str) -> list[str]:
        return [word.decode() for word in self._call(operation, *arguments, *ids)] if ids else []

    def resolve(
        self, message_id: str, state: State, *, reason: str = "", results: Mapping[str, Result] | None = None
    ) -> State:
        rules.resolvable(state)
        answer = self._call("resolve", message_id, state, rules.short(reason), encode_results(results or {}))
        word, *now_in = (each.decode() for each in answer)
        if word == "missing":
            raise MessageNotFound(message_id)
        if word == "refused":
            raise IllegalTransition(f"a message that is {now_in[0]} waits for no answer to be resolved as {state}")
        return State(word)

    def get(self, message_id: str) -> Entry:
        answer = self._call("get", message_id)
        if not answer:
            raise MessageNotFound(message_id)
        flat, due, content, results, own_id = answer
        record = {name.decode(): value for name, value in zip(*[iter(flat)] * 2, strict=True)}

        def text(name: str) -> str:
            value: bytes = record.get(name, b"")
            return value.decode()

        def number(name: str) -> int:
            return int(record.get(name) or 0)

        return Entry(
            id=own_id.decode(),
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
            results=decode_results(results),
            envelope=content,
            expires_at=number("e") / 1000 or None,
            key=text("i"),
            asked=_ASKED.get(text("g")),
        )

    def list(
        self, state: State, *, lane: str | None = None, relay: str | None = None, after: str = "", limit: int = 100
    ) -> list[str]:
        rules.listable(state)
        found: dict[str, None] = {}  # in order; twice if the list had to begin anew
        looks = limit if lane is relay is None else rules.LIST_LOOKS
        while looks > 0 and len(found) < limit:
            asked = (state, lane or "", int(relay is not None), relay or "", after, looks)
            ids, last, looked = self._call("list", *asked)
            found.update(dict.fromkeys(message_id.decode() for message_id in ids))
            if looked < looks or last.decode() == after:
                break
            after = last.decode()
        return [*found][: max(0, limit)]

    def counts(self) -> dict[str, dict[str, int]]:
        answer: dict[str, dict[str, int]] = {}
        for name, number in sorted(self._hash("counts").items()):
            lane, _, state = name.rpartition(":")
            if number:
                answer.setdefault(lane, {})[state] = number
        return answer

    def counters(self) -> dict[str, int]:
        return dict.fromkeys(rules.EVENTS, 0) | self._hash("events")

    # -- relays

    def relay_trouble(
        self,
        relay: str,
        *,
        owner: str,
        delay: float,
        longest: float = 300.0,
        latch: str = "",
        over: str = "",
        reason: str = "",
    ) -> Setback:
        times = rules.milliseconds(delay), rules.milliseconds(longest)
        wait, news, down = self._call("relay_trouble", relay, owner, *times, latch, over, rules.short(reason))
        return Setback(wait / 1000, news=news == 1, down=down == 1)

    def relay_probe(self, relay: str, owner: str, *, fingerprint: str = "") -> float:
        return int(self._call("relay_probe", relay, owner, fingerprint)) / 1000

    def relay_recovered(self, relay: str, *, by_hand: bool = False) -> bool:
        return bool(self._call("relay_recovered", relay, int(by_hand)) == 1)

    def relay_states(self) -> Mapping[str, RelayMark]:
        marks = (
            RelayMark(
                relay.decode(),
                since=int(since) / 1000,
                until=int(until) / 1000,
                times=int(times),
                reason=reason.decode(),
                prober=prober.decode(),
                latched=tuple(each.decode() for each in latched),
            )
            for relay, since, until, times, reason, prober, *latched in self._call("relay_states")
        )
        return {mark.relay: mark for mark in marks}

    # -- beside the messages

    @property
    def campaigns(self) -> Campaigns:
        return self._campaigns

    @property
    def schedules(self) -> Schedules:
        return self._schedules

    @property
    def rates(self) -> RedisRates:
        return self._rates

    # -- the store

    def check(self, *, durable: bool = False) -> Checkup:
        return disk.check_up(self._client, self._where, self._timeout, durable=durable)

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

    def _call(self, name: str, *arguments: Any, keys: tuple[str, ...] = ()) -> Any:
        """Run a script, known to the store by its digest; one that has forgotten it (a restart) gets its source.

        ``keys`` are not the ledger's own.
        """
        script = self._scripts[name]
        offset = rules.milliseconds(self._offset()) if self._offset else 0
        fixed = (1 + len(keys), self._prefix, *keys, offset, self._lease, self._retention)
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
                # Every operation is safe to repeat. A stale connection shows at once; whatever took longer has used up
                # the caller's patience.
                if time.monotonic() - began > self._timeout / 10:
                    raise
                return self._client.execute_command(*command)
        except self._errors.NoScriptError:
            raise
        except (self._errors.RedisError, OSError) as error:
            if isinstance(error, self._errors.ReadOnlyError):
                # The primary has become a replica: connect anew, to whom the name leads by now.
                self._client.connection_pool.disconnect(inuse_connections=False)
            if is_fault(error):
                raise LedgerFault(explain(error, self._where, self._timeout)) from error
            raise LedgerUnavailable(explain(error, self._where, self._timeout)) from error


# Many texts of a call are one argument, and its answers one text: each argument, and each element of an answer, costs
# both sides more than what is done with it.


def _lines(ids: Sequence[str]) -> str:
    return "\n".join(ids)


def _flags(answer: bytes) -> list[bool]:
    return [flag == 49 for flag in answer]  # "1"


def _options(submission: Submission) -> str:
    """What most messages do not have, as one argument: each costs the web process more than what it says."""
    hold = submission.on_unknown == "hold"
    if not (hold or submission.send_at or submission.expires_at or submission.key):
        return ""
    times = rules.ahead(submission.send_at), rules.ahead(submission.expires_at)
    return f"{hold:d} {times[0]} {times[1]} {submission.key_digest} {rules.kept_key(submission.key)}"
