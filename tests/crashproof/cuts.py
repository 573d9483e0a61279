"""The step cuts: a delivery that ends, or stops for longer than its lease, between each pair of its steps.

One case each: three messages in one parcel, the cut at the second one; then time passes, others recover and send, and
the audit compares. What the cut message comes to is foretold by the case, so that counting too much is found as well.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from redis import Redis

from mailqueue import conf
from mailqueue.ledger.states import State
from mailqueue.producer import Producer
from mailqueue.publisher import Publisher
from mailqueue.route import route_using
from mailqueue.testing.script import Step, drop, reply
from mailqueue.testing.scripted import ScriptedServer
from mailqueue.testing.store import EmbeddedValkey
from tests.crashproof.audit import SETTLED, Breach, Relayed, audit
from tests.crashproof.sabotage import sabotage
from tests.crashproof.steps import CUT, Cut, Echo, Job, message, on_our_clock, play
from tests.crashproof.writer import Mail
from workers.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailqueue.ledger.base import Entry
    from mailqueue.testing.dialogue import Received

__all__ = ["CASES", "TELLTALES", "Bench", "Case", "play_all"]

_VIRTUAL = 600  # s of the store's time that a recovery may take
_REAL = 20.0  # s that a process may take
_LEASE = 30.0


@dataclass(frozen=True, slots=True)
class Case:
    """One cut, and what it must come to.

    ``kill`` names a stage of the relay and its how-manieth time, at which the delivering process gets SIGKILL instead
    of a cut of its own ("kept": the message is accepted, and not answered). ``copies`` and ``unknowns`` are the second
    message's (in a ``produce`` case the only one's) after everything; with ``hold`` as its policy, ``held_copies``.
    """

    name: str
    role: str = "drain"
    cut: Cut | None = None
    kill: tuple[str, int] | None = None
    echo: Echo | None = None
    script: tuple[Step, ...] = ()
    copies: int = 1
    unknowns: int = 0
    held_copies: int | None = None  # None: the policy makes no difference
    held: State = State.UNKNOWN  # what it then comes to
    recipients: int = 1
    limit: int | None = None  # recipients that the relay takes in one transaction
    large: bool = False
    broken_broker: bool = False
    forgotten: bool = False  # the store forgets the messages once their task is published
    dropped: bool = False  # the broker loses the task
    buried: bool = False  # the worker's main is alive, and frees the claims of its dead child
    rival: Cut | None = None  # where the process stops that has taken the message over meanwhile, until this one ends


def _before(operation: str, nth: int = 1) -> Cut:
    return Cut(operation, "before", nth)


def _after(operation: str, nth: int = 1) -> Cut:
    return Cut(operation, "after", nth)


def _stopped(cut: Cut) -> Cut:
    return replace(cut, freeze=True)


#: After its begin a message counts as unknown; whether it has a copy goes by how far it came.
_BEGUN: dict[str, Any] = {"unknowns": 1, "held_copies": 0}
_OUT: dict[str, Any] = {"copies": 2, "unknowns": 1, "held_copies": 1}
_SHUT = (reply("greeting", "554 5.3.2 closed", nth=1),)
_DROPPED = (drop("data", nth=2),)
_UNANSWERED = (drop("final", nth=2),)
_LATER = (reply("final", "451 4.3.0 later", nth=2),)
_TWO_TURNS: dict[str, Any] = {"recipients": 3, "limit": 2}

CASES: tuple[Case, ...] = (
    # -- the producer
    Case("| accept", "produce", _before("accept"), copies=0),
    Case("accept | publish", "produce", _after("accept")),
    Case("publish | return", "produce", _after("publish")),
    Case("accept, lacking | large parts", "produce", _after("accept", 1), large=True, copies=0),
    Case("large parts | accept", "produce", _after("put_blobs"), large=True, copies=0),
    Case("accept | publish, with large parts", "produce", _after("accept", 2), large=True),
    Case("publish failed | unpublished", "produce", _before("unpublished"), broken_broker=True),
    Case("unpublished | return", "produce", _after("unpublished"), broken_broker=True),
    # -- a task on its way
    Case("the broker loses the task", "none", dropped=True),
    Case("pop | claim", cut=_before("claim")),
    Case("the store forgets; accept again | claim", cut=_after("accept", 3), forgotten=True),
    # -- a delivery
    Case("claim | connect", cut=_after("claim")),
    Case("claim | connect, buried", cut=_after("claim"), buried=True),
    Case("connect | greeting", kill=("greeting", 1)),
    Case("EHLO | its reply", kill=("ehlo", 1)),
    Case("MAIL | its reply", kill=("mail", 2)),
    Case("RCPT | its reply", kill=("rcpt", 2)),
    Case("RCPT | begin", cut=_before("begin", 2)),
    Case("begin | DATA", cut=_after("begin", 2), **_BEGUN),
    Case("DATA | its reply", kill=("data", 2), **_BEGUN),
    Case("content | last byte", kill=("content", 2), script=(drop("content", after=10, nth=2),), **_BEGUN),
    Case("last byte | acceptance", kill=("final", 2), script=_UNANSWERED, **_BEGUN),
    Case("acceptance | reply", kill=("kept", 2), **_OUT),
    Case("acceptance | reply, buried", kill=("kept", 2), buried=True, **_OUT),
    Case("reply | record", cut=_before("record", 2), **_OUT),
    Case("record | next", cut=_after("record", 2)),
    # -- endings of an attempt
    Case("for now | record", cut=_before("record", 2), script=_LATER, **_BEGUN),
    Case("for now, record |", cut=_after("record", 2), script=_LATER),
    Case("dropped before the last byte | unbegin", cut=_before("unbegin"), script=_DROPPED, **_BEGUN),
    Case("unbegin | connect again", cut=_after("unbegin"), script=_DROPPED),
    Case("unanswered | record", cut=_before("record", 2), script=_UNANSWERED, **_BEGUN),
    Case("unanswered, record |", cut=_after("record", 2), script=_UNANSWERED, **_BEGUN),
    Case("no relay | release", cut=_before("release"), script=_SHUT),
    Case("release |", cut=_after("release"), script=_SHUT),
    Case("two turns: acceptance | progress", cut=_before("record", 3), **_TWO_TURNS, **_OUT),
    Case("two turns: progress | begin", cut=_after("record", 3), **_TWO_TURNS),
    Case("two turns: begin | DATA", cut=_after("begin", 4), **_TWO_TURNS, **_BEGUN | {"held_copies": 1}),
    Case("two turns: acceptance | record", cut=_before("record", 4), **_TWO_TURNS, **_OUT),
    # -- the tick
    Case("free | tick", "tick", _after("free"), buried=True),
    Case("tick | publish", "tick", _after("tick")),
    Case("publish | next tick", "tick", _after("publish")),
    # -- stopped for longer than a lease, and gone on when others have sent
    Case("stopped: pop | claim", cut=_stopped(_before("claim"))),
    Case("stopped: claim | begin", cut=_stopped(_before("begin", 2))),
    Case(
        "stopped: claim | begin, another's begin | DATA",
        cut=_stopped(_before("begin", 2)),
        rival=_stopped(_after("begin")),
    ),
    Case("stopped: begin | DATA", cut=_stopped(_after("begin", 2)), **_OUT, held=State.SENT),
    Case("stopped: reply | record", cut=_stopped(_before("record", 2)), **_OUT, held=State.SENT),
    Case("stopped: tick | publish", "tick", _stopped(_after("tick"))),
    # -- a call that arrives once more, late
    Case("late again: claim, after a record", echo=Echo("claim", "record", later=3)),
    Case("late again: begin, after its record", echo=Echo("begin", "record", nth=2, later=2)),
    Case("late again: record, after the next", echo=Echo("record", "record", nth=2, later=3)),
    Case(
        "late again: unbegin, after the next begin | its record",
        cut=_before("record", 2),
        echo=Echo("unbegin", "begin", later=3),
        script=_DROPPED,
        **_OUT,
    ),
    Case(
        "late again: progress, after the next begin | its record",
        cut=_before("record", 4),
        echo=Echo("record", "begin", nth=3, later=4),
        **_TWO_TURNS,
        **_OUT,
    ),
)


#: For each sabotage a case that it must break, to see within seconds that it is noticed.
TELLTALES = {
    "fence": "stopped: claim | begin, another's begin | DATA",
    "begin": "reply | record",
    "lost-task": "the broker loses the task",
    "lease": "claim | connect",
}


def play_all(bench: Bench, only: str = "") -> Iterator[tuple[str, list[Breach]]]:
    """Every case or the one called ``only``, under each policy that makes a difference: its name, and what was wrong."""
    for case in (case for case in CASES if only in ("", case.name)):
        for policy in ("resend",) if case.held_copies is None else ("resend", "hold"):
            yield f"{case.name} ({policy})", bench.play(case, policy)


class _NotCutError(Exception):
    """A process has never come to its cut."""

    def __init__(self, job: Job, status: int | None) -> None:
        super().__init__(f"{job.role} ended with {status}, and never came to its cut {job.cut}")


class _Relay(ScriptedServer):
    """Kills its client at a stage."""

    victim = 0

    def __init__(self, *steps: Step, kill: tuple[str, int] | None, **options: Any) -> None:
        super().__init__(*steps, **options)
        self._kill = kill

    def step(self, stage: str, *args: Any) -> Any:
        action = super().step(stage, *args)
        if self._kill == (stage, self.reached(stage)):
            self._strike()
        return action

    def keep(self, message: Received) -> None:
        super().keep(message)
        if self._kill == ("kept", len(self.messages)):
            self._strike()

    def _strike(self) -> None:
        if self.victim:
            os.kill(self.victim, signal.SIGKILL)
            while _state(self.victim) not in "ZX":  # nothing of what we say next may reach it
                time.sleep(0.001)


def _state(pid: int) -> str:
    """The state of a process as proc(5) has it; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


class Bench:
    """Plays cases, each on an emptied store; time passes as fast as it is ticked."""

    def __init__(self, sabotaged: str = "") -> None:
        self._sabotaged = sabotaged
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.crashproof.steps"])
        self._clock = self._context.Value("d", 0.0, lock=False)
        self._store = EmbeddedValkey()
        self._processes: list[Any] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._store)
            self._redis = Redis(port=self._store.port)
            stack.callback(self._redis.close)
            if self._sabotaged:
                stack.callback(sabotage(self._sabotaged))
            conf.configure(MAILQUEUE_BROKER_URL=self._store.url)
            stack.callback(conf.reset)
            self._ledger = on_our_clock(self._store.url, self._clock)
            stack.callback(self._ledger.close)
            self._publisher = Publisher(self._store.url)
            stack.callback(self._publisher.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, case: Case, policy: str) -> list[Breach]:
        """Play a case under a policy (``resend``, ``hold``); what the audit finds, and what was not foretold."""
        self._redis.flushall()
        self._clock.value = time.time()
        self._tick = Tick(self._ledger, self._publisher, "nobody", 1.0)
        self._live(1)
        options = {"recipients_per_message": case.limit} if case.limit else {}
        with _Relay(*case.script, kill=case.kill, **options) as relay:
            try:
                mails = self._cut(case, policy, relay)
            except _NotCutError as error:
                return [Breach("unforetold", None, str(error))]
            finally:
                self._end_all()
            self._recover(mails, relay)
            entries = {entry.id: entry for entry in map(self._entry, mails) if entry is not None}
            relayed = _relayed(relay.messages)
        findings = audit(mails, entries, relayed)
        return findings.breaches + list(_unforetold(case, policy, mails, entries, relayed))

    # -- the cut

    def _cut(self, case: Case, policy: str, relay: _Relay) -> list[Mail]:
        job = Job(
            case.role,
            self._store.url,
            f"redis://127.0.0.1:{_closed_port()}/0" if case.broken_broker else self._store.url,
            relay.port,
            cut=case.cut,
            echo=case.echo,
            sabotage=self._sabotaged,
            recipients=case.recipients,
            large=case.large,
            settings={"MAILQUEUE_RETRY_DELAYS": [60], "MAILQUEUE_ON_UNKNOWN": policy, "EMAIL_TIMEOUT": 5},
        )
        if case.role == "produce":
            accepted = self._run(job) == 0
            found = [i for state in (State.QUEUED, State.DEFERRED) for i in self._ledger.list(state)]
            return [Mail(0, tuple(message(0, case.recipients).recipients()), "default", found, accepted)]
        mails = self._accept(case, policy)
        if case.forgotten:
            for key in itertools.chain(*map(self._redis.scan_iter, ("{mailqueue}:[mex]:*", "{mailqueue}:queued:*"))):
                self._redis.delete(key)
        if case.dropped:
            self._redis.delete("mailqueue.default")
        if case.role == "tick":
            # What it finds to publish: the claims of a child that has died.
            self._run(replace(job, role="drain", cut=_after("claim")))
            if not case.buried:
                self._live(_LEASE - 2)
            self._clock.value += 4  # behind the lease, and no outage yet
        if case.role != "none":
            self._run(replace(job, alone_in_charge=case.buried), relay, case.rival)
        if case.buried and case.role == "drain":
            self._clock.value += 1
            self._run(replace(job, role="tick", cut=None, alone_in_charge=True))
        return mails

    def _accept(self, case: Case, policy: str) -> list[Mail]:
        messages = [message(number, case.recipients) for number in range(3)]
        receipts: list[Any] = []
        producer = Producer(self._ledger, self._publisher)
        producer.enqueue_many(messages, route_using(None, on_unknown=policy), accepted=receipts)
        return [
            Mail(number, tuple(mail.recipients()), "default", [receipt.id], accepted=True)
            for number, (mail, receipt) in enumerate(zip(messages, receipts, strict=True))
        ]

    def _run(self, job: Job, relay: _Relay | None = None, rival: Cut | None = None) -> int:
        """Run a process until its cut, or its end; one that has stopped goes on when others have done its work."""
        process = self._start(job)
        if relay is not None:
            relay.victim = process.pid
        if job.cut and job.cut.freeze:
            self._await_stop(process, job)
            if rival is None:
                self._others(job)
                self._go_on(process, job)
            else:
                self._outrun(process, job, rival)
        else:
            self._await_end(process, job)
            if job.cut and process.exitcode != CUT:
                raise _NotCutError(job, process.exitcode)
        if relay is not None:
            relay.victim = 0
        return int(process.exitcode)

    def _outrun(self, process: Any, job: Job, rival: Cut) -> None:
        """Another takes the message over, and stops with it; ``process`` goes on to its end, and then the other does."""
        self._live(_LEASE + 5)
        other_job = replace(job, cut=rival)
        other = self._start(other_job)
        self._await_stop(other, other_job)
        self._go_on(process, job)
        self._go_on(other, other_job)

    def _start(self, job: Job) -> Any:
        process: Any = self._context.Process(target=play, args=(job, self._clock))
        process.start()
        self._processes.append(process)
        return process

    def _end_all(self) -> None:
        """None outlives its case, whatever became of that."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    def _await_stop(self, process: Any, job: Job) -> None:
        deadline = time.monotonic() + _REAL
        while _state(process.pid) != "T":
            if not process.is_alive() or time.monotonic() > deadline:
                process.kill()
                process.join()
                raise _NotCutError(job, process.exitcode)
            time.sleep(0.001)

    def _go_on(self, process: Any, job: Job) -> None:
        os.kill(process.pid, signal.SIGCONT)
        self._await_end(process, job)

    def _await_end(self, process: Any, job: Job) -> None:
        process.join(_REAL)
        if process.is_alive():
            process.kill()
            process.join()
            raise RuntimeError(f"{job} still ran after {_REAL:g} s")
        if process.exitcode not in (0, CUT, -signal.SIGKILL):
            raise RuntimeError(f"{job} ended with {process.exitcode}")

    # -- what comes after it

    def _others(self, job: Job) -> None:
        """While a process has stopped: its lease ends, and others send what was its."""
        for _ in range(4):
            self._live(_LEASE)
            self._drain(job.relay)

    def _recover(self, mails: Sequence[Mail], relay: _Relay) -> None:
        """Time passes, ticks publish, others deliver, until everything is settled."""
        until = self._clock.value + _VIRTUAL
        while self._clock.value < until and not self._settled(mails):
            self._live(5)
            self._drain(relay.port)

    def _drain(self, port: int) -> None:
        if self._redis.exists("mailqueue.default"):
            self._run(
                Job(
                    "drain",
                    self._store.url,
                    self._store.url,
                    port,
                    sabotage=self._sabotaged,
                    settings={"MAILQUEUE_RETRY_DELAYS": [60], "EMAIL_TIMEOUT": 5},
                )
            )

    def _live(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self._clock.value += 1.0
            self._tick.once()

    def _settled(self, mails: Sequence[Mail]) -> bool:
        return all(entry is None or entry.state in SETTLED for entry in map(self._entry, mails))

    def _entry(self, mail: Mail) -> Entry | None:
        with contextlib.suppress(LookupError):
            return self._ledger.get("".join(mail.ids))
        return None


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _relayed(messages: Sequence[Received]) -> Relayed:
    relayed = Relayed()
    for received in messages:
        number = int(received.content.partition(b"X-Crashproof: ")[2].partition(b"\r\n")[0])
        relayed.copies[number].update(received.recipients)
    return relayed


def _unforetold(
    case: Case, policy: str, mails: Sequence[Mail], entries: dict[str, Entry], relayed: Relayed
) -> Iterator[Breach]:
    """Where the case has come to something else than it says."""
    mail = mails[-2:][0]
    entry = entries.get("".join(mail.ids))
    held = policy == "hold" and case.held_copies is not None
    expected = case.held_copies if held else case.copies
    copies = max(relayed.copies[mail.number].values(), default=0)
    state = case.held if held else State.SENT
    if copies != expected:
        yield Breach("unforetold", mail.number, f"{copies} copies, not {expected}")
    if entry is None:
        if case.copies:
            yield Breach("unforetold", mail.number, "not in the ledger")
        return
    if entry.unknowns != case.unknowns:
        yield Breach("unforetold", mail.number, f"counted unknown {entry.unknowns} times, not {case.unknowns}")
    if entry.state is not state:
        yield Breach("unforetold", mail.number, f"{entry.state} ({entry.reason}), not {state}")
    for other in mails:
        number = max(relayed.copies[other.number].values(), default=0)
        if other is not mail and number != 1:
            yield Breach("unforetold", other.number, f"{number} copies of its neighbour")
