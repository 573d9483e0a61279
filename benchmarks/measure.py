"""One run: fresh servers, the mail put in, then drained; what came of it as a row of figures.

The drain is timed at the sink, from the first message to the last, so that no system's start counts. CPU time is taken
from the moment when the first message has been seen there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.delay import DelayProxy
from benchmarks.helper import HOST, ROOT, HelperTrouble
from benchmarks.letters import expected, letters, missing
from benchmarks.sink import Sink
from benchmarks.usage import cpu_of
from mailqueue.ledger.open import open_ledger
from mailqueue.testing import EmbeddedValkey
from mailqueue.testing.child import Child
from mailqueue.testing.environment import clean_environment
from mailqueue.testing.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.plan import Case
    from benchmarks.systems import System

__all__ = ["RunTrouble", "run"]

_PATIENCE = 60.0  # s for a drain; the plan gives each a few seconds' worth
_LOOK = 0.02  # s between two looks at the sink
_ENOUGH = 0.4  # of the messages must have arrived while CPU time was taken, else it says nothing


class RunTrouble(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """The run gave no figures, or not all mail arrived; the message says what happened."""


def run(case: Case, system: System, python: Path) -> dict[str, Any]:
    """Run ``case`` and return its row. Raises RunTrouble."""
    try:
        return _run(case, system, python)
    except (HelperTrouble, StoreUnavailable, redis.RedisError, OSError) as error:
        raise RunTrouble(f"{case}: {type(error).__name__}: {error}") from error


def _run(case: Case, system: System, python: Path) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailqueue-bench-")))
        store = stack.enter_context(EmbeddedValkey()) if system.store else None
        sink = stack.enter_context(Sink(offer=case.offer, record=case.record))
        link = stack.enter_context(DelayProxy(sink.port, case.rtt / 1000)) if case.rtt else None
        env = _environment(system, store, directory, link.port if link else sink.port)
        row: dict[str, Any] = {
            "scenario": case.scenario,
            "system": case.system,
            "offer": "+".join(case.offer),
            "rtt": case.rtt,
            "messages": case.messages,
        }
        if link:
            row["rtt_measured"] = link.measured() * 1000
        if system.enqueue:
            row["enqueue"] = _enqueue(case, system, python, env, store)
        if case.drained:
            row["drain"] = _drain(case, [str(python), *system.drain], env, directory, sink, store)
            if system.ledger and store:
                _audit(case, store)
        return row


def _environment(system: System, store: EmbeddedValkey | None, directory: Path, port: int) -> dict[str, str]:
    url = store.url if store else ""
    found = clean_environment(
        BENCH_STORE=url,
        BENCH_PORT=str(port),
        BENCH_DIRECTORY=str(directory),
        EMAIL_HOST=HOST,
        EMAIL_PORT=str(port),
        **({"MAILQUEUE_BROKER_URL": url} if url else {}),
        TMPDIR=str(directory),
        **system.env,
    )
    # Wherever mailqueue is installed, the programs of the benchmarks are here.
    return {**found, "PYTHONPATH": f"{ROOT}{os.pathsep}{found['PYTHONPATH']}"}


def _enqueue(
    case: Case, system: System, python: Path, env: Mapping[str, str], store: EmbeddedValkey | None
) -> dict[str, float]:
    before = _store_memory(store)
    command = [str(python), *system.enqueue, "--shape", case.shape, "--count", str(case.messages)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=env, cwd=ROOT, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise RunTrouble(f"{case}: the producer still runs after {_PATIENCE:g} s") from None
    if done.returncode:
        raise RunTrouble(f"{case}: the producer ended with {done.returncode}:\n{_end_of(done.stderr)}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if store:
        figures["store_bytes"] = (_store_memory(store) - before) / case.messages
    return figures


def _drain(
    case: Case,
    command: Sequence[str],
    env: Mapping[str, str],
    directory: Path,
    sink: Sink,
    store: EmbeddedValkey | None,
) -> dict[str, float]:
    if "benchmarks.floors" in command:
        command = [*command, "--count", str(case.messages)]
    child = Child(command, log=directory / "drain.log", env=env, cwd=directory)
    watched = {"sink": sink.pid, **({"store": store.pid} if store else {})}
    try:
        child.start()
        watched["worker"] = child.pid
        seen = _await(case, child, sink, 1)
        before = {name: cpu_of(pid) for name, pid in watched.items()}
        _await(case, child, sink, case.messages)
        after = {name: cpu_of(pid) for name, pid in watched.items()}
        child.stop(timeout=30)
    finally:
        child.close()
    _compare(case, sink)
    first, last = sink.span()
    figures = {"rate": (case.messages - 1) / (last - first), "seconds": last - first}
    for name, late in after.items():
        early = before[name]
        if late is not None and early is not None and case.messages - seen >= case.messages * _ENOUGH:
            figures[f"cpu_{name}"] = (late - early) / (case.messages - seen)
    return figures


def _await(case: Case, child: Child, sink: Sink, count: int) -> int:
    deadline = time.monotonic() + _PATIENCE
    while True:
        running = child.running  # asked first: what it sends before its end still counts
        arrived = sink.count
        if arrived >= count:
            return arrived
        if not running or time.monotonic() > deadline:
            why = f"after {_PATIENCE:g} s" if running else f"at its end, with status {child.returncode},"
            log = _end_of(child.log.read_text(errors="replace"))
            raise RunTrouble(f"{case}: {arrived} of {case.messages} messages have arrived {why}\n{log}")
        time.sleep(_LOOK)


def _compare(case: Case, sink: Sink) -> None:
    """Each message arrived, once; when recording, as it was meant."""
    arrivals = sink.arrivals()
    recipients = [recipient for arrival in arrivals for recipient in arrival.recipients]
    if wrong := missing(recipients, case.messages):
        raise RunTrouble(f"{case}: of {case.messages} messages {wrong}")
    if case.record:
        wanted = {item.recipient: expected(item, plain=case.shape == "mass") for item in letters(case.messages)}
        changed = sum(arrival.digest != wanted[arrival.recipients[0]] for arrival in arrivals)
        if changed:
            raise RunTrouble(f"{case}: {changed} of {case.messages} messages are not what was sent")


def _audit(case: Case, store: EmbeddedValkey) -> None:
    """The ledger says the same as the sink."""
    states = open_ledger(store.url).counts()
    if states != {"default": {"sent": case.messages}}:
        raise RunTrouble(f"{case}: all of {case.messages} messages have arrived, and the ledger has {states}")


def _store_memory(store: EmbeddedValkey | None) -> int:
    if store is None:
        return 0
    with redis.Redis.from_url(store.url) as client:
        return int(client.info("memory")["used_memory"])


def _end_of(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
