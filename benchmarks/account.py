"""Where a worker's time goes: CPU time a message, step by step, of a process that drains a backlog.

    python -m benchmarks.account [--messages 10000] [--runs 3] [--offer pipelining,chunking] [--profile FILE]

Runs in one process what a child of a worker does once Celery has given it a task, against a store and a fast sink in
processes of their own. Each step has the CPU time of its thread, without that of the steps inside of it; the store and
the sink have theirs from the system. One message a task is what ``send_mail`` gives, 100 what ``send_mass_mail`` does.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import mailqueue
from benchmarks.letters import SENDER, letters, missing
from benchmarks.sink import ALL, Sink
from mailqueue import EmailMultiAlternatives, codec, conf
from mailqueue.ledger.redis import RedisLedger
from mailqueue.mail.letter import Letter
from mailqueue.testing.store import EmbeddedValkey
from workers import backends, tap, unpacking
from workers.inline import InlineWorker
from workers.journal import Journal
from workers.process import make_ledger, spare_the_collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["STEPS", "Account", "main"]

#: The steps in the order in which a message takes them, and what each is.
STEPS = {
    "fetch": "tasks popped from the broker, and read",
    "claim": "the ledger's claim",
    "decode": "the envelope decoded, the message made of it",
    "render": "its bytes, and the addresses for its commands",
    "begin": "the ledger's begin, before the last byte",
    "transmit": "the conversation with the relay",
    "record": "the ledger's record",
    "ack": "none: what a broker loses, the ledger finds",
    "worker": "all else: batches, turns, outcomes, logs",
}


class Account:
    """CPU time of this thread by step. What a step calls that is another one is that one's."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, int] = defaultdict(int)  # ns
        self._step = "worker"
        self._since = time.thread_time_ns()

    def enter(self, step: str) -> str:
        """``step`` begins; returns the one that it interrupts, to be entered again when it ends."""
        now = time.thread_time_ns()
        self.spent[self._step] += now - self._since
        interrupted, self._step, self._since = self._step, step, now
        return interrupted

    def timed(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` as a step."""

        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            interrupted = self.enter(step)
            try:
                return call(*args, **kwargs)
            finally:
                self.enter(interrupted)

        return timed

    def timed_each(self, step: str, generator: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """A generator as a step, without what is done with what it yields."""

        @functools.wraps(generator)
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            iterator = generator(*args, **kwargs)
            fetch = self.timed(step, lambda: next(iterator, timed))
            while (item := fetch()) is not timed:
                yield item

        return timed

    def feed(self, deliver: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """A backend's ``deliver``: the conversation, but for the worker's own part in it."""
        conversation = self.timed_each("transmit", deliver)

        def timed(backend: Any, messages: Iterator[Any], on_begin: Any, on_wait: Any) -> Iterator[Any]:
            fed = self.timed_each("worker", lambda: messages)()
            return conversation(backend, fed, self.timed("worker", on_begin), self.timed("worker", on_wait))

        return timed

    def open(self) -> None:
        """Put the clocks in, for good: this process is for nothing else."""
        tap._RedisTap.take = self.timed("fetch", tap._RedisTap.take)  # type: ignore[method-assign] # noqa: SLF001 - a step of its own, timed from outside
        for step in ("claim", "begin", "record"):
            setattr(RedisLedger, step, self.timed(step, getattr(RedisLedger, step)))
        Journal._write = self.timed("worker", Journal._write)  # type: ignore[method-assign] # noqa: SLF001 - as above
        codec.decode = self.timed("decode", codec.decode)
        unpacking.unpack = self.timed("decode", unpacking.unpack)  # type: ignore[attr-defined]
        Letter.of = self.timed("render", Letter.of)  # type: ignore[method-assign]
        backends.deliver = self.feed(backends.deliver)

    def clear(self) -> None:
        """Begin anew."""
        self.spent.clear()
        self._since = time.thread_time_ns()


def _cpu(pid: int) -> float:
    """CPU time of a process so far, in s."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _messages(count: int) -> Iterator[EmailMultiAlternatives]:
    for letter in letters(count):
        message = EmailMultiAlternatives(letter.subject, letter.text, SENDER, [letter.recipient])
        message.attach_alternative(letter.html, "text/html")
        yield message


def _enqueue(count: int, shape: int) -> None:
    if shape == 1:
        for message in _messages(count):
            mailqueue.enqueue(message)
    else:
        mailqueue.enqueue_many(_messages(count))


def _run(account: Account, store: EmbeddedValkey, sink: Sink, count: int, shape: int) -> dict[str, float]:
    """CPU time (us) a message by step, of one drain."""
    _enqueue(count, shape)
    sink.clear()
    worker = InlineWorker(make_ledger(), now=time.time, sleep=time.sleep)
    before = _cpu(store.pid), _cpu(sink.pid)
    account.clear()
    started = time.monotonic()
    worker.work()
    wall = time.monotonic() - started
    account.enter("worker")
    spent = {step: account.spent[step] / 1000 / count for step in STEPS}
    after = _cpu(store.pid), _cpu(sink.pid)
    worker.close()
    if wrong := missing((arrival.recipients[0] for arrival in sink.arrivals()), count):
        raise SystemExit(f"not every message has arrived once: {wrong}")
    spent["all of the worker"] = sum(spent.values())
    spent["the store"] = (after[0] - before[0]) * 1e6 / count
    spent["the sink"] = (after[1] - before[1]) * 1e6 / count
    spent["wall clock"] = wall * 1e6 / count
    return spent


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    names = [*STEPS, "all of the worker", "the store", "the sink", "wall clock"]
    return {name: statistics.median(run[name] for run in runs) for name in names}


def _table(results: dict[int, list[dict[str, float]]], count: int) -> Table:
    table = Table(title=f"CPU time a message in us, {count:,} messages, medians")
    table.add_column("step")
    for shape in results:
        table.add_column("one a task" if shape == 1 else f"{shape} a task", justify="right")
    table.add_column("what it is")
    medians = [_medians(runs) for runs in results.values()]
    for name in medians[0]:
        cells = [f"{found[name]:.1f}" for found in medians]
        table.add_row(name, *cells, STEPS.get(name, ""))
    most = [max(STEPS, key=found.__getitem__) for found in medians]
    table.caption = "what limits it now: " + ", ".join(dict.fromkeys(most))
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--offer", default=",".join(ALL), help="what the sink offers: %(default)s")
    parser.add_argument("--profile", help="write a profile (cProfile) of the last run to this file")
    parser.add_argument("--json", action="store_true", help="print the medians as a line of JSON instead")
    parser.add_argument("--shapes", default="1,100", help="messages a task: %(default)s")
    given = parser.parse_args(arguments)
    account = Account()
    if not given.profile:
        account.open()
    results: dict[int, list[dict[str, float]]] = {int(shape): [] for shape in given.shapes.split(",")}
    with EmbeddedValkey() as store, Sink(offer=[word for word in given.offer.split(",") if word]) as sink:
        spare_the_collector()  # as a child of a worker does
        conf.configure(
            MAILQUEUE_BROKER_URL=store.url,
            EMAIL_HOST=sink.host,
            EMAIL_PORT=sink.port,
        )
        for _ in range(given.runs):
            for shape, runs in results.items():
                if given.profile:
                    profile = cProfile.Profile()
                    _enqueue(given.messages, shape)
                    worker = InlineWorker(make_ledger(), now=time.time, sleep=time.sleep)
                    profile.runcall(worker.work)
                    worker.close()
                    profile.dump_stats(given.profile)
                else:
                    runs.append(_run(account, store, sink, given.messages, shape))
    if given.json:
        sys.stdout.write(json.dumps({shape: _medians(runs) for shape, runs in results.items()}) + "\n")
    elif not given.profile:
        Console(width=100).print(_table(results, given.messages))


if __name__ == "__main__":
    main()
