"""The tables: what the rounds did and found, a column for each kind of store; and whether each sabotage was noticed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from tests.crashproof.faults import KILLS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.crashproof.round import Report

__all__ = ["Sabotaged", "table", "verdicts"]

#: What the relay does, by groups of its misbehaviours.
_GROUPS = {
    "relay: 421": ("greeting-421", "mail-421", "final-421"),
    "relay: 4yz for now": ("mail-451", "rcpt-450", "rcpt-452", "data-451", "final-451"),
    "relay: 5yz for good": ("final-554",),
    "relay: drops before it accepts": ("data-drop", "content-drop", "final-drop-unkept"),
    "relay: accepts, then drops": ("final-drop-kept",),
    "relay: accepts, then hangs, babbles or is slow": ("final-hang-kept", "final-garbage-kept", "final-slow-kept"),
}
_GROUP_OF = {f"relay: {how}": group for group, hows in _GROUPS.items() for how in hows}
_LOST = ("lost", "missing")
_UNCOUNTED = ("repeated", "uncounted")


@dataclass(frozen=True, slots=True)
class Sabotaged:
    """What was reported while a safeguard was taken away. ``rounds`` is 0 if it was left at the step cut."""

    name: str
    by_cut: int  # breaches
    by_rounds: int
    breached: int = 0  # rounds with a breach
    rounds: int = 0

    @property
    def noticed(self) -> bool:
        """Whether the step cut has noticed, and the rounds if there were any."""
        return bool(self.by_cut and (self.by_rounds or not self.rounds))

    def __str__(self) -> str:
        by_rounds = f", {self.by_rounds} by rounds, in {self.breached} of {self.rounds}" if self.rounds else ""
        return f"{self.name}: {self.by_cut} breaches by the step cut{by_rounds}: {_verdict(self.noticed)}"


def _verdict(noticed: bool) -> str:
    return "noticed" if noticed else "UNNOTICED"


def verdicts(found: Sequence[Sabotaged], takes_away: Mapping[str, str]) -> Table:
    """The table of sabotages, in Markdown; ``takes_away`` has a few words for each."""
    shown = Table(box=box.MARKDOWN)
    shown.add_column("taken away")
    for title in ("breaches by the step cut", "breaches by rounds", "in how many rounds"):
        shown.add_column(title, justify="right")
    shown.add_column("verdict")
    for one in found:
        rounds = (str(one.by_rounds), f"{one.breached} of {one.rounds}") if one.rounds else ("-", "-")
        shown.add_row(f"{one.name}: {takes_away[one.name]}", str(one.by_cut), *rounds, _verdict(one.noticed))
    return shown


def table(reports: Sequence[Report]) -> Table:
    """The table of ``reports``, in Markdown."""
    columns = {name: [r for r in reports if r.column == name] for name in sorted({r.column for r in reports})}
    shown = Table(box=box.MARKDOWN)
    shown.add_column("appendfsync")
    for name in columns:
        shown.add_column(name, justify="right")
    faults = {name: _faults(of) for name, of in columns.items()}
    kinds = sorted({kind for counts in faults.values() for kind in counts}, key=lambda kind: (kind not in KILLS, kind))
    rows: list[tuple[str, list[object]]] = [("rounds", [len(of) for of in columns.values()])]
    rows += [
        (
            f"of these with a relay that offers {offers}",
            [sum(r.offers == offers for r in of) for of in columns.values()],
        )
        for offers in sorted({r.offers for r in reports} - {""})
    ]
    rows += [(kind, [counts[kind] for counts in faults.values()]) for kind in kinds]
    rows += [
        ("**faults**", [counts.total() for counts in faults.values()]),
        ("of these kills", [sum(counts[kind] for kind in KILLS) for counts in faults.values()]),
        ("processes killed", [sum(r.processes_killed for r in of) for of in columns.values()]),
        ("tasks dropped", [sum(r.tasks_dropped for r in of) for of in columns.values()]),
    ]
    rows += [
        (name, [value(of) for of in columns.values()]) for name, value in (_MESSAGES | _CAMPAIGNS | _VERDICT).items()
    ]
    for name, numbers in rows:
        shown.add_row(name, *(f"{number:,}" for number in numbers))
    return shown


def _faults(reports: Sequence[Report]) -> Counter[str]:
    counts = Counter[str]()
    for report in reports:
        for kind, number in report.faults.items():
            counts[_GROUP_OF.get(kind, kind)] += number
    return counts


def _state(*names: str) -> Callable[[Sequence[Report]], int]:
    return lambda reports: sum(report.states.get(name, 0) for report in reports for name in names)


def _sum(name: str) -> Callable[[Sequence[Report]], int]:
    return lambda reports: sum(getattr(report, name) for report in reports)


def _bulk(*names: str) -> Callable[[Sequence[Report]], int]:
    return lambda reports: sum(report.bulk.get(name, 0) for report in reports for name in names)


def _breaches(*kinds: str) -> Callable[[Sequence[Report]], int]:
    return lambda reports: sum(breach["kind"] in kinds for report in reports for breach in report.breaches)


def _excused(*kinds: str) -> Callable[[Sequence[Report]], int]:
    return lambda reports: sum(report.excused.get(kind, 0) for report in reports for kind in kinds)


_MESSAGES: dict[str, Callable[[Sequence[Report]], int]] = {
    "**messages accepted**": _sum("accepted"),
    "refused to the caller, in the ledger all the same": _sum("doubtful"),
    "of these by the spool": _sum("spooled"),
    "sent": _state("sent"),
    "partial": _state("partial"),
    "failed": _state("failed"),
    "of these poison": _sum("poisoned"),
    "held": _state("held"),
    "unknown": _state("unknown"),
    "expired, cancelled": _state("expired", "cancelled"),
    "copies at the relay": _sum("copies"),
    "of these repeated": _sum("repeated"),
    "answers counted unknown": _sum("unknowns"),
}
_CAMPAIGNS = {
    "**campaigns**": _bulk("campaigns"),
    "paused and resumed": _bulk("pauses"),
    "**recipients of campaigns**": _bulk("recipients"),
    "of these sent": _bulk("sent"),
    "of these failed": _bulk("failed"),
    "of these suppressed": _bulk("suppressed"),
    "of these unknown, held": _bulk("unknown", "held"),
    "of these cancelled": _bulk("cancelled"),
    "campaigns' copies at the relay": _bulk("copies"),
    "campaigns' copies repeated": _bulk("repeated"),
    "campaigns' answers counted unknown": _bulk("unknowns"),
}
_VERDICT: dict[str, Callable[[Sequence[Report]], int]] = {
    "begins and records that the fence refused": lambda reports: sum(r.counters.get("fenced", 0) for r in reports),
    "lost with the store's second": _excused(*_LOST),
    "repeated uncounted with the store's second": _excused(*_UNCOUNTED),
    "**lost**": _breaches(*_LOST),
    "**repeated uncounted**": _breaches(*_UNCOUNTED),
    "**breaches**": lambda reports: sum(len(report.breaches) for report in reports),
}
