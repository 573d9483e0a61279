"""Many rounds: several rigs at a time, each round in a process of its own; shows progress, and can be resumed."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.crashproof.round import Plan, Report, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from rich.console import Console

__all__ = ["Journal", "Tally", "play"]

_EVERY = 15.0  # s between lines of progress where there is no terminal


class Journal:
    """The finished rounds, a line each: what a resumed proof need not play again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Report] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self._found[record["plan"]] = Report(**record["report"])

    def get(self, plan: Plan) -> Report | None:
        """The report of ``plan``, if it was played."""
        return self._found.get(_key(plan))

    def add(self, plan: Plan, report: Report) -> None:
        """Keep a report."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps({"plan": _key(plan), "report": asdict(report)}) + "\n")


def _key(plan: Plan) -> str:
    return json.dumps(asdict(replace(plan, keep="")), sort_keys=True)


@dataclass(slots=True)
class Tally:
    """Where the proof stands."""

    rounds: int
    done: int = 0
    played: int = 0  # of those done, by this run
    faults: int = 0
    mails: int = 0
    breaches: int = 0
    running: dict[int, Counter[str]] = field(default_factory=dict)  # progress of the rounds under way, by their number
    began: float = field(default_factory=time.monotonic)
    fresh_faults: int = 0  # of rounds done by this run

    def count(self, report: Report) -> None:
        """A round is done."""
        self.done += 1
        self.faults += sum(report.faults.values())
        self.mails += report.accepted
        self.breaches += len(report.breaches)

    def line(self) -> str:
        """One line for people."""
        under_way = sum((counts["faults"] for counts in self.running.values()), 0)
        seconds = time.monotonic() - self.began
        rate = (self.fresh_faults + under_way) / max(seconds, 1.0)
        text = f"{self.faults + under_way:,} faults ({rate:.1f}/s), {self.mails:,} messages, {self.breaches} breaches"
        if self.played:
            left = (self.rounds - self.done) * seconds / (self.played + len(self.running) / 2)
            text += f", about {_minutes(left)} left"
        return text


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def play(
    plans: Sequence[Plan],
    *,
    rigs: int,
    journal: Journal | None,
    console: Console,
    title: str,
) -> list[Report]:
    """Play ``plans``, ``rigs`` at a time, and return their reports."""
    reports = [report for plan in plans if journal and (report := journal.get(plan))]
    waiting = [plan for plan in plans if not (journal and journal.get(plan))]
    tally = Tally(len(plans))
    for report in reports:
        tally.count(report)
    if reports:
        console.print(f"{title}: {len(reports)} of {len(plans)} rounds are done already")
    with _Display(console, title, tally) as display, _Rigs(rigs) as pool:
        while waiting or pool.busy:
            while waiting and pool.free:
                plan = waiting.pop(0)
                tally.running[plan.number] = Counter()
                pool.start(plan)
            for plan, message in pool.receive(timeout=1.0):
                if isinstance(message, dict):
                    tally.running[plan.number] = Counter(message)
                    continue
                tally.running.pop(plan.number)
                reports.append(message)
                tally.count(message)
                tally.played += 1
                tally.fresh_faults += sum(message.faults.values())
                if journal:
                    journal.add(plan, message)
                display.breaches(plan, message)
            display.refresh()
    return reports


class _Rigs:
    """Processes that play a round each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[Connection, tuple[Plan, Any]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._running)

    @property
    def free(self) -> bool:
        return len(self._running) < self._most

    def start(self, plan: Plan) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_play_one, args=(plan, theirs), name=f"round-{plan.number}")
        process.start()
        theirs.close()
        self._running[ours] = (plan, process)

    def receive(self, timeout: float) -> Iterable[tuple[Plan, Any]]:
        """What the rounds have to say: a dict of progress, or at last a Report. Raises what ended one without."""
        for pipe in connection.wait(list(self._running), timeout):
            assert isinstance(pipe, connection.Connection)
            plan, process = self._running[pipe]
            try:
                message = pipe.recv()
            except EOFError:
                process.join()
                raise RuntimeError(f"round {plan.number} ended with {process.exitcode}, and without a report") from None
            if isinstance(message, str):
                raise RuntimeError(f"round {plan.number} of seed {plan.seed} could not be played:\n{message}")  # noqa: TRY004 - it is what the round's own exception says
            if isinstance(message, Report):
                del self._running[pipe]
                process.join()
                pipe.close()
            yield plan, message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, (_plan, process) in self._running.items():
            process.terminate()
            process.join(10)
            if process.is_alive():
                process.kill()  # the guards of its children end those
            pipe.close()


def _play_one(plan: Plan, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's, which ends us in its own order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which cleans up
    said = 0.0

    def tell(**progress: int) -> None:
        nonlocal said
        if time.monotonic() - said > 0.5:
            said = time.monotonic()
            pipe.send(progress)

    try:
        report = run(plan, tell)
    except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
        pipe.send(traceback.format_exc())
    else:
        pipe.send(report)


class _Display:
    """Progress: a bar on a terminal, a line now and then elsewhere; breaches as they are found."""

    def __init__(self, console: Console, title: str, tally: Tally) -> None:
        self._console = console
        self._title = title
        self._tally = tally
        self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[line]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=tally.rounds, completed=tally.done, line="")

    def refresh(self) -> None:
        self._bar.update(self._task, completed=self._tally.done, line=self._tally.line())
        if not self._console.is_terminal and time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            self._console.print(f"{self._title}: {self._tally.done}/{self._tally.rounds} rounds, {self._tally.line()}")

    def breaches(self, plan: Plan, report: Report) -> None:
        for breach in report.breaches[:5]:
            number = "" if breach["number"] is None else f" message {breach['number']}:"
            self._console.print(
                f"BREACH seed {plan.seed} round {plan.number}: {breach['kind']}:{number} {breach['text']}", markup=False
            )
        if len(report.breaches) > 5:
            self._console.print(f"... and {len(report.breaches) - 5} more in round {plan.number}")
        if report.evidence:
            self._console.print(f"  evidence: {report.evidence}", markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
