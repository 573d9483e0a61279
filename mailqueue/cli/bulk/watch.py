"""A campaign as it is being loaded and sent, live on a terminal; anywhere else a plain line every few seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mailqueue.cli.bulk.pace import Pace
from mailqueue.cli.bulk.words import COLOURS, Clock, brief, counted, done, percent, sentence
from mailqueue.cli.times import span
from mailqueue.ledger.campaigns import CampaignState

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import RenderableType

    from mailqueue.bulk.loading import Loaded
    from mailqueue.bulk.report import CampaignStatus

__all__ = ["Loading", "Sending"]

#: s between two lines where they are not overwritten.
_EVERY: Final = 5.0
_BAR: Final = 36  # columns
_BARS: Final = {CampaignState.PAUSED: "yellow", CampaignState.CANCELLED: "red", CampaignState.EXPIRED: "red"}


class _Shown:
    """What both screens do: draw anew on a terminal, and speak up now and then elsewhere."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(highlight=False, stderr=True)
        self._clock = clock
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._is_live = self._console.is_terminal
        self._spoken = -_EVERY
        self._last = ""

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._live.stop()

    def _show(self, picture: RenderableType, line: str, *, urgent: bool = False) -> None:
        if self._is_live:
            self._live.update(picture, refresh=True)
            return
        now = self._clock()
        if line != self._last and (urgent or now - self._spoken >= _EVERY):
            self._spoken, self._last = now, line
            self._console.print(line, markup=False, soft_wrap=True)


class Loading(_Shown):
    """Recipients on their way into a campaign; called with how far it has come.

    Args:
        total: How many there are, about; None if nobody knows.
        console: Default: standard error.
        clock: s.
    """

    def __init__(
        self, total: int | None, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(console, clock)
        self._total = total
        self._began = clock()
        self._pace = Pace()
        self.skipped = 0  # that cannot be used, when it was last told

    def __call__(self, loaded: Loaded) -> None:
        """Show it."""
        self._show(*self.look(loaded))

    def look(self, loaded: Loaded) -> tuple[RenderableType, str]:
        """It as a picture, and as a line."""
        self._pace.note(self._clock(), loaded.read)
        self.skipped = loaded.skipped
        rate = self._pace.rate
        words = [counted(loaded.read)]
        if rate:
            words.append(_rate(rate))
        odd = [f"{number:,} {what}" for number, what in _oddities(loaded)]
        what = "loading" if loaded.added or loaded.duplicates else "checking"
        completed = min(loaded.read, self._total or 0)
        bar = ProgressBar(self._total, completed, _BAR, pulse=self._total is None, complete_style="cyan")
        lines: list[RenderableType] = [
            _side_by_side(bar, Text("  ".join(words))),
            *([Text(", ".join(odd), "yellow")] if odd else []),
        ]
        return _stack(what, *lines), f"{what}: {', '.join(words + odd)}"

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return self._clock() - self._began


def _oddities(loaded: Loaded) -> list[tuple[int, str]]:
    found = [(loaded.duplicates, "duplicate" + "s" * (loaded.duplicates != 1)), (loaded.skipped, "cannot be used")]
    return [(number, what) for number, what in found if number]


class Sending(_Shown):
    """A campaign on its road; called with each status.

    Args:
        clock_of: How moments are told.
        console: Default: standard error.
        clock: s, for when to speak.
    """

    def __init__(
        self,
        clock_of: Clock | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(console, clock)
        self._moments = clock_of or Clock()
        self._pace = Pace()
        self._state: CampaignState | None = None

    def __call__(self, status: CampaignStatus) -> None:
        """Show it."""
        changed, self._state = status.state is not self._state, status.state
        self._show(*self.look(status), urgent=changed)

    def look(self, status: CampaignStatus) -> tuple[RenderableType, str]:
        """It as a picture, and as a line."""
        self._pace.note(status.now, done(status))
        told = sentence(status, self._moments) or self._speed(status)
        return self._picture(status, told), _line(status, told)

    def _speed(self, status: CampaignStatus) -> str:
        rate, left = self._pace.rate, self._pace.left(status.total)
        if rate is None:
            return "just begun" if not done(status) else ""
        if left is None:
            return "nothing has moved for a while" if done(status) < status.total else ""
        until = self._moments(status.now + left, status.now)
        return f"{_rate(rate)}, {span(max(1.0, left))} left, until about {until}"

    def _picture(self, status: CampaignStatus, told: str) -> RenderableType:
        style = _BARS.get(status.state, "green" if status.state is CampaignState.FINISHED else "cyan")
        if status.quiet:
            style = "blue"
        bar = ProgressBar(
            total=max(1, status.total), completed=done(status), width=_BAR, complete_style=style, finished_style=style
        )
        part = Text(f"{done(status):,} of {status.total:,}  {percent(status)}")
        numbers = Text("  ").join(
            Text.assemble((f"{number:,}", COLOURS.get(name, "bold") if number else "dim"), f" {name}")
            for name, number in brief(status).items()
        )
        return _stack(status.id, _side_by_side(bar, part), Text(told), numbers)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def _stack(title: str, first: RenderableType, *others: RenderableType) -> Table:
    """``first`` beside the title, the others below both, so that they have room on a narrow terminal."""
    table = Table.grid()
    table.add_row(_side_by_side(Text(title, "bold"), first))
    for line in others:
        table.add_row(Padding(line, (0, 0, 0, 2)))
    return table


def _side_by_side(*cells: RenderableType) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(*cells)
    return table


def _line(status: CampaignStatus, told: str) -> str:
    numbers = ", ".join(f"{number:,} {name}" for name, number in brief(status).items())
    start = f"{status.id}: {done(status):,} of {status.total:,} ({percent(status)}); {numbers}"
    return f"{start}; {told}" if told else start
