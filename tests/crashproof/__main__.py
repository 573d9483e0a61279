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
from tests.crashproof.round import WAKES, Plan
from tests.crashproof.sabotage import SABOTAGES, TAKES_AWAY
from tests.crashproof.table import Sabotaged, table, verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

_CACHE = Path(__file__).parents[2] / ".cache" / "crashproof"
#: What the relay offers, round by round: nothing; one message ahead of the answers; as many as the window has room for.
_OFFERS = ("", "PIPELINING", "PIPELINING CHUNKING")
_SABOTAGED_ROUNDS = 4  # of each sabotage
_SABOTAGED_WAKES = {
    "fence": 6.0,
    "lease": 0.0,
}  # it is what the fence is for; where leases do not end nobody else comes


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
    help=f"See that it can fail: take each safeguard away in turn, and play a step cut and {_SABOTAGED_ROUNDS} rounds, or "
    "the cut alone. Each must report breaches.",
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
    """Attack real workers, and compare the ledger with what the relay has, message by message.

    First the step cuts, then the rounds, then the same with one safeguard taken away at a time (fence, begin, lost-task,
    lease): a table says for each how many breaches the step cut and the rounds have reported, and in how many rounds.
    Ends with 1 after any breach, and when a safeguard was not missed.
    """
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
        found = [_without(name, seed, rigs, console, rounds=sabotage == "rounds") for name in SABOTAGES]
        console.print(f"\npython -m tests.crashproof {shlex.join(sys.argv[1:])}\n", markup=False)
        console.print(verdicts(found, TAKES_AWAY), markup=False)
        sound &= all(one.noticed for one in found)
    console.print("\nThe proof stands." if sound else "\nThe proof FAILED.")
    sys.exit(not sound)


def _plan(seed: int, number: int, faults: int) -> Plan:
    offers = _OFFERS[number % len(_OFFERS)]
    return Plan(
        seed,
        number,
        faults,
        rollback=number % 5 == 0,
        offers=offers,
        # The ambush stands where a relay is asked for one thing after the other.
        wakes=0.0 if offers else WAKES,
        keep=str(_CACHE / f"seed-{seed}-round-{number}"),
    )


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


def _without(name: str, seed: int, rigs: int, console: Console, *, rounds: bool) -> Sabotaged:
    """What is reported when what ``name`` stands for is taken away: by its telltale among the cuts, and by rounds."""
    with Bench(name) as bench:
        cut = [
            breach
            for _name, found in play_all(bench, TELLTALES[name])
            for breach in found
            if breach.kind != "unforetold"
        ]
    wakes = _SABOTAGED_WAKES.get(name, WAKES)
    numbers = range(1, _SABOTAGED_ROUNDS + 1) if rounds else ()
    plans = [Plan(seed, -number, wakes=wakes, sabotage=name, patience=15.0) for number in numbers]
    reports = play(plans, rigs=rigs, journal=None, console=console, title=f"without {name}")
    breaches = [len(report.breaches) for report in reports]
    one = Sabotaged(name, len(cut), sum(breaches), sum(map(bool, breaches)), len(breaches))
    console.print(f"without {one}")
    return one


if __name__ == "__main__":
    main()
