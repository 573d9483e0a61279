"""What the bulk demo shows: how far it is, and one last screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mailqueue.cli.bulk.watch import Loading, Sending
from mailqueue.cli.demo.campaign.findings import notes
from mailqueue.cli.demo.screen import duration, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from mailqueue.bulk import CampaignStatus, Loaded
    from mailqueue.cli.demo.campaign.findings import Findings

__all__ = ["Screen"]


class Screen:
    """Lines and a live picture while it plays, as a context manager; then the report.

    Args:
        recipients: How many there will be.
        console: Default: standard output.
    """

    def __init__(self, recipients: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._loading = Loading(recipients, self._console)
        self._sending = Sending(console=self._console)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, line: str) -> None:
        """A step is done."""
        self._live.update("")
        self._console.print(f"  {line}", markup=False)

    def loading(self, loaded: Loaded) -> None:
        """How far loading is."""
        if self._console.is_terminal:
            self._live.update(self._loading.look(loaded)[0], refresh=True)

    def sending(self, status: CampaignStatus) -> None:
        """How far sending is."""
        if self._console.is_terminal:
            self._live.update(self._sending.look(status)[0], refresh=True)

    def report(self, found: Findings, problems: Sequence[str]) -> None:
        """What was found, and the problems if there are any."""
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for name, told in _lines(found):
            table.add_row(name, Text(told))
        self._console.print()
        self._console.print(table)
        self._console.print()
        for problem in problems[:20]:
            self._console.print(f"WRONG: {problem}", style="bold red", markup=False)
        if len(problems) > 20:
            self._console.print(f"... and {len(problems) - 20} more", style="bold red")
        for note in notes(found):
            self._console.print(note, style="yellow", markup=False)
        if not problems:
            self._console.print(f"All of it is right. ({found.seconds:.0f} s)", style="bold green")


def _lines(found: Findings) -> Iterator[tuple[str, str]]:
    """No wider than 80 columns with their names."""
    account, people = found.account, found.recipients
    yield "Campaign", f"{people:,} recipients, {found.state} {found.sending:.1f} s after its first message"
    rate = people / max(found.loading, 0.001)
    yield "Loaded", f"in {found.loading:.1f} s, {rate:,.0f}/s, each tried first; {found.duplicates} were given twice"
    once = f"{account.once:,} of {account.expected:,} have one message"
    yield "Exactly one", f"{once}, {account.none} none, {account.twice} more than one"
    alike = f"{account.alike:,} of {account.expected:,} say what they should"
    yield "As written", f"{alike}, with a PDF of {found.pdf / 1024:.0f} KB"
    yield "Nobody else", f"{found.refused} refused by the relay, {found.suppressed} on the suppression list"
    silence = f"then {found.in_silence} in {found.silent:.0f} s"
    yield "Paused", f"at {found.paused_at:,}: {found.after_pause} were on their way, {silence}"
    child = f"child {found.child} at {found.child_at:,}"
    yield "Killed", f"{child}, worker {found.worker} at {found.worker_at:,} (kill -9)"
    yield "Unknown", _unknown(found)
    yield from _figures(found)


def _unknown(found: Findings) -> str:
    if not found.unknown:
        return "none: no answer was lost"
    others = found.unknown - found.unknown_arrived
    again = f"{others} {'was' if others == 1 else 'were'} sent again"
    return f"{found.unknown} answers lost with them: {found.unknown_arrived} had arrived, {again}"


def _figures(found: Findings) -> Iterator[tuple[str, str]]:
    held, memory, people = found.held, found.memory, found.recipients
    yield "Limit", f"{held.limit:,g}/s for the fleet: {held.mean:,.1f}/s at full speed ({held.mean / held.limit:.1%}),"
    yield "", f"{held.busiest:,.1f}/s in the busiest {held.window:.0f} s ({held.busiest / held.limit:.1%})"
    if found.urgent:
        p50, p95 = (duration(quantile(found.urgent, part)) for part in (0.5, 0.95))
        longest = duration(found.urgent[-1])
        yield "Urgent mail", f"{len(found.urgent)} meanwhile: p50 {p50}, p95 {p95}, longest {longest}"
    waiting = f"{memory.waiting / people:.0f} octets a waiting recipient (its data: {memory.data / people:.0f})"
    yield "Store", f"{waiting}, {memory.records / people:.0f} a final record"
    peak, after = ((octets - memory.before) / 1e6 for octets in (memory.peak, memory.after))
    yield "", f"{memory.waiting / 1e6:.1f} MB when all waited, {peak:.1f} MB at the peak, {after:.1f} MB in the end"
