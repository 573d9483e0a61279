"""The command line of the crash proof; ends with 1 after any breach, and when a sabotage goes unnoticed."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from tests.crashproof.cuts import TELLTALES, Bench, play_all
from tests.crashproof.proof import Journal, play
from tests.crashproof.round import Plan, Report
from tests.crashproof.sabotage import SABOTAGES
from tests.crashproof.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

_CACHE = Path(__file__).parents[2] / ".cache" / "crashproof"
_SABOTAGED_ROUNDS = 4  # at most, before a sabotage counts as unnoticed


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Rounds to play; every fifth with a store that forgets.")
@click.option("--seed", default=1, show_default=True, help="What all that is random goes by.")
@click.option("--only", type=int, help="Play this round alone, as after a breach.")
@click.option("--rigs", default=3, show_default=True, help="Rounds at a time.")
@click.option("--faults", default=250, show_default=True, help="Faults to draw in a round; some find nothing to do.")
@click.option("--cuts/--no-cuts", default=True, show_default=True, help="First cut a delivery between each two steps.")
@click.option(
    "--sabotage",
    type=click.Choice(["rounds", "cuts", "none"]),
    default="rounds",
    show_default=True,
    help="See that it can fail: with each safeguard disabled in turn, by a step cut and rounds, or the cut alone.",
)
@click.option("--journal", type=click.Path(path_type=Path), help="Where finished rounds are kept, to be resumed.")
@click.option("--fresh", is_flag=True, help="Forget the rounds that were played before.")
def main(
    rounds: int,
    seed: int,
    only: int | None,
    rigs: int,
    faults: int,
    cuts: bool,
    sabotage: str,
    journal: Path | None,
    fresh: bool,
) -> None:
    """Attack real workers, and compare the ledger with what the relay has, message by message."""
    logging.basicConfig(handlers=[logging.NullHandler()])  # what the code under test has to say here is no news
    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True)
    if only is not None:
        report = _rounds([_plan(seed, only, faults)], 1, console)
        sys.exit(bool(report))
    sound = True
    if cuts:
        sound &= not _cuts(console)
    if rounds:
        journal = journal or _CACHE / f"seed-{seed}.jsonl"
        if fresh:
            journal.unlink(missing_ok=True)
        sound &= not _rounds([_plan(seed, n, faults) for n in range(1, rounds + 1)], rigs, console, Journal(journal))
    if sabotage != "none":
        found = {name: _notices(name, seed, rigs, console, rounds=sabotage == "rounds") for name in SABOTAGES}
        console.print("\n".join(["", "| without | breaches found |", "|---|---|", *_rows(found)]), markup=False)
        sound &= all(found.values())
    console.print("\nThe proof stands." if sound else "\nThe proof FAILED.")
    sys.exit(not sound)


def _plan(seed: int, number: int, faults: int) -> Plan:
    return Plan(seed, number, faults, rollback=number % 5 == 0, keep=str(_CACHE / f"seed-{seed}-round-{number}"))


def _rounds(plans: Sequence[Plan], rigs: int, console: Console, journal: Journal | None = None) -> bool:
    """Whether rounds had breaches."""
    reports = play(plans, rigs=rigs, journal=journal, console=console, title="rounds")
    console.print(f"\npython -m tests.crashproof {shlex.join(sys.argv[1:])}\n", markup=False)
    console.print(table(reports), markup=False)
    return any(report.breaches for report in reports)


def _cuts(console: Console) -> bool:
    """Whether step cuts had breaches."""
    with Bench() as bench:
        cuts = list(play_all(bench))
    breaches = [(name, breach) for name, found in cuts for breach in found]
    for name, breach in breaches:
        console.print(f"BREACH {name}: {breach.kind}: message {breach.number}: {breach.text}", markup=False)
    console.print(f"step cuts: {len(cuts)} cases, {len(breaches)} breaches")
    return bool(breaches)


def _notices(name: str, seed: int, rigs: int, console: Console, *, rounds: bool) -> list[str]:
    """The breaches that are reported when what ``name`` stands for is disabled, by cuts and by rounds; [] for none."""
    with Bench(name) as bench:
        cut = [
            breach
            for _name, found in play_all(bench, TELLTALES[name])
            for breach in found
            if breach.kind != "unforetold"
        ]
    told = [f"{len(cut)} by a step cut"]
    found = bool(cut)
    if rounds:
        plans = [Plan(seed, -n, sabotage=name, patience=15.0) for n in range(1, _SABOTAGED_ROUNDS + 1)]
        reports = play(plans, rigs=rigs, journal=None, console=console, title=f"without {name}", enough=_has_breach)
        count = sum(len(report.breaches) for report in reports)
        told.append(f"{count} in {len(reports)} rounds")
        found = found and bool(count)
    console.print(f"without {name}: {', '.join(told)}" + ("" if found else ": UNNOTICED"))
    return told if found else []


def _has_breach(report: Report) -> bool:
    return bool(report.breaches)


def _rows(found: dict[str, list[str]]) -> list[str]:
    return [f"| {name} | {', '.join(told) or 'NONE'} |" for name, told in found.items()]


if __name__ == "__main__":
    main()
