"""What the demo shows: its progress, and the table at the end."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from mailqueue.cli.demo.verdict import pinned
from mailqueue.outcome import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from mailqueue.cli.demo.runner import Report
    from mailqueue.cli.demo.verdict import Story

__all__ = ["Screen", "duration", "quantile"]


class Screen:
    """Lines and a progress bar while the demo runs, as a context manager; then the report."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """A step is done."""
        self._console.print(f"  {line}", markup=False)

    def show(self, what: str, done: int, total: int) -> None:
        """What is going on, and how far it is."""
        self._progress.update(self._task, description=what, completed=done, total=total)

    def report(self, report: Report) -> None:
        """The table, the numbers, and the problems if there are any."""
        self._console.print()
        self._console.print(_table(report.stories))
        self._console.print()
        for line in (*_numbers(report), *_accounts(report)):
            self._console.print(line, markup=False)
        self._console.print()
        for problem in report.problems[:20]:
            self._console.print(f"WRONG: {problem}", style="bold red", markup=False)
        if len(report.problems) > 20:
            self._console.print(f"... and {len(report.problems) - 20} more", style="bold red")
        if not report.problems:
            self._console.print(f"All of it is right. ({report.seconds:.1f} s)", style="bold green")


def _table(stories: Iterable[Story]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Narrow enough for a terminal of 80 columns.
    for heading in ("message", "state", "recipients", "attempts", "call to arrival\n[dim]p50 / p99", "same\nbytes"):
        table.add_column(heading)
    for name, group in itertools.groupby(stories, key=lambda story: story.case.name):
        table.add_row(name, *_row(list(group)))
    return table


def _row(stories: Sequence[Story]) -> tuple[str, str, str, str, str]:
    states = Counter(story.status.state.value for story in stories)
    verdicts = Counter(result.verdict for story in stories for result in story.status.recipients.values())
    attempts = sorted({story.status.attempts for story in stories})
    delays = sorted(story.arrivals[0].arrived_at - story.called_at for story in stories if story.arrivals)
    compared = [story for story in stories if story.arrivals]
    equal = sum(_is_equal(story) for story in compared)
    one = len(stories) == 1
    return (
        ", ".join(state if one else f"{number} {state}" for state, number in states.items()),
        "\n".join(f"{verdicts[verdict]} {verdict}" for verdict in Verdict if verdicts[verdict]),
        f"{attempts[0]}" if len(attempts) == 1 else f"{attempts[0]} to {attempts[-1]}",
        _delays(delays),
        ("yes" if equal else "NO") if one and compared else f"{equal} of {len(compared)}" if compared else "-",
    )


def _is_equal(story: Story) -> bool:
    return story.reference is not None and all(
        pinned(arrival.content) == pinned(story.reference.content) for arrival in story.arrivals
    )


def _delays(delays: Sequence[float]) -> str:
    if not delays:
        return "-"
    if len(delays) == 1:
        return f"{delays[0]:.2f} s"
    return f"{quantile(delays, 0.5):.2f} s / {quantile(delays, 0.99):.2f} s"


def _numbers(report: Report) -> Iterable[str]:
    if report.calls:
        calls = sorted(report.calls)
        yield (
            f"Enqueue time: p50 {duration(quantile(calls, 0.5))}, p99 {duration(quantile(calls, 0.99))} "
            f"over {len(calls)} calls of send_mail()"
        )
    mass = [story for story in report.stories if story.case.count > 1]
    if mass:
        yield (
            f"              send_mass_mail() took {duration(report.mass_call)} for {len(mass)}, "
            f"{duration(report.mass_call / len(mass))} each"
        )
    arrivals = sum(len(story.arrivals) for story in report.stories)
    yield f"Delivery:     {arrivals} arrivals over {report.connections} connections"


def _accounts(report: Report) -> Iterable[str]:
    repeated = [story for story in report.stories if len(story.arrivals) > 1]
    lost = sum(not story.arrivals and story.case.state != "failed" for story in report.stories)
    if report.killed is not None:
        yield (f"Killed:       child {report.killed} of the worker, at number {report.killed_after} of the mass mail")
    yield f"Lost:         {lost}"
    yield f"Repeated:     {len(repeated)}" + (
        " (its answer died with that child: on record as unknown)" if repeated else ""
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value below which ``part`` of the values in ascending order lie."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def duration(seconds: float) -> str:
    """Seconds for people: ``310 us``, ``4.2 ms``, ``1.53 s``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
