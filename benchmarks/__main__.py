"""Run the benchmarks, and write docs/performance.md's tables and plots.

    python -m benchmarks [--quick] [--only SYSTEM ...] [--rounds N] [--json FILE] [--from FILE]
        [--skip-missing]

Makes each peer's virtual environment in .cache/bench first (a minute, once). Then 15 minutes on two idle cores, 3 with --quick;
only a full run of all systems is written to docs, and what failed in it stands there as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.environments import CACHE, EnvironmentTrouble, python_of, versions
from benchmarks.helper import ROOT
from benchmarks.machine import machine
from benchmarks.measure import RunTrouble, run
from benchmarks.page import fill
from benchmarks.plan import plan, rounds_of
from benchmarks.report import blocks, plot
from benchmarks.results import Results, save
from benchmarks.systems import PACKAGES, SYSTEMS, interpreter
from mailqueue.testing.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.plan import Case

PAGE = ROOT / "docs" / "performance.md"
DIRECTORY = ROOT / "docs" / "performance"
#: Where the rows of any run go, unless --json says.
LATEST = CACHE / "results.json"


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, half the messages; docs stay as they are")
    parser.add_argument("--only", nargs="+", default=[], choices=sorted(SYSTEMS), metavar="SYSTEM", help="these alone")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of what has a budget (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the rows go (.cache/bench/results.json)")
    parser.add_argument(
        "--from", dest="write_from", type=Path, metavar="FILE", help="measure nothing: write docs from it"
    )
    parser.add_argument("--skip-missing", action="store_true", help="go on without peers that cannot be installed")
    given = parser.parse_args(words)
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Run them; 1 if a run failed or a peer is missing."""
    given = arguments_of(words)
    if given.write_from:
        publish(json.loads(given.write_from.read_text()))
        return 0
    cases = plan(rounds=given.rounds, quick=given.quick, only=given.only)
    environments, lacking = _environments({case.system for case in cases})
    if lacking and not given.skip_missing:
        return 1
    cases = [case for case in cases if SYSTEMS[case.system].environment not in lacking]
    results: dict[str, Any] = {
        "machine": machine(),
        "versions": _versions(environments),
        "missing": lacking,
        "rows": [],
        "failures": [],
        "render": {},
        "account": {},
    }
    kept = given.json or LATEST
    if not given.only or "mailqueue" in given.only:
        _attempt(results, "render", lambda: _rendering(environments))
        _attempt(results, "account", lambda: _account(quick=given.quick))
    _run_all(cases, environments, results, kept)
    if not given.quick and not given.only:
        publish(results)
    for name, text in blocks(Results(results)).items():
        sys.stdout.write(f"## {name}\n\n{text}\n\n")
    sys.stderr.write("".join(f"FAILED {failure}\n" for failure in results["failures"]))
    return int(bool(results["failures"]))


def _attempt(results: dict[str, Any], name: str, measure: Callable[[], Any]) -> None:
    try:
        results[name] = measure()
    except RunTrouble as trouble:
        _failed(results, trouble)


def _failed(results: dict[str, Any], trouble: RunTrouble) -> None:
    results["failures"].append(str(trouble))
    sys.stderr.write(f"FAILED\n{trouble}\n")


def _run_all(cases: Sequence[Case], environments: Mapping[str, Path], results: dict[str, Any], kept: Path) -> None:
    turns = list(rounds_of(cases))
    began = time.monotonic()
    for number, (turn, case) in enumerate(turns, 1):
        system = SYSTEMS[case.system]
        sys.stderr.write(f"[{number}/{len(turns)}, {time.monotonic() - began:.0f} s] {case} ... ")
        sys.stderr.flush()
        try:
            row = run(case, system, interpreter(system, environments))
        except RunTrouble as trouble:
            _failed(results, trouble)
        else:
            results["rows"].append({**row, "round": turn})
            sys.stderr.write(f"{_brief(row)}\n")
        save(results, kept)  # each time: what was measured is kept when the rest is given up


def publish(results: Mapping[str, Any]) -> None:
    """Keep the results in docs, and draw and write what the page says of them."""
    told = Results(results)
    save(results, DIRECTORY / "results.json")
    (DIRECTORY / "distance.svg").write_text(plot(told))
    PAGE.write_text(fill(PAGE.read_text(), blocks(told)))


def _versions(environments: Mapping[str, Path]) -> dict[str, str]:
    """The versions of ours and of all environments, which install the same ones of what they share."""
    found: dict[str, str] = {}
    for python in (*environments.values(), Path(sys.executable)):
        found |= versions(python, PACKAGES)
    return {name: found[name] for name in PACKAGES if name in found}


def _rendering(environments: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """What rendering costs us, and Django where a peer has brought it."""
    found = {"mailqueue": _figures_of(Path(sys.executable), "benchmarks.rendering", "mailqueue")}
    if python := environments.get("django-mailer"):
        found["django"] = _figures_of(python, "benchmarks.rendering", "django")
    return found


def _account(*, quick: bool) -> dict[str, dict[str, float]]:
    """Where the time of a worker of ours goes."""
    amount = ("--runs", "1", "--messages", "3000") if quick else ()
    return _figures_of(Path(sys.executable), "benchmarks.account", "--json", *amount)


def _figures_of(python: Path, module: str, *words: str) -> dict[str, Any]:
    """The line of JSON that a program of the benchmarks ends with."""
    sys.stderr.write(f"{module.rpartition('.')[2]} {' '.join(words)} ...\n")
    command = [str(python), "-m", module, *words]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=clean_environment())
    if done.returncode:
        raise RunTrouble(f"{module} ended with {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _environments(names: set[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The interpreters of the environments that the systems need, and why others are lacking."""
    found: dict[str, Path] = {}
    lacking: dict[str, str] = {}
    for name in sorted(names):
        system = SYSTEMS[name]
        if not system.environment or system.environment in found or system.environment in lacking:
            continue
        sys.stderr.write(f"environment of {system.environment} ... ")
        sys.stderr.flush()
        try:
            found[system.environment] = python_of(system.environment, system.requirements)
        except EnvironmentTrouble as trouble:
            lacking[system.environment] = str(trouble)
            sys.stderr.write(f"MISSING\n{trouble}\n")
        else:
            told = versions(found[system.environment], PACKAGES)
            sys.stderr.write(", ".join(f"{package} {version}" for package, version in told.items()) + "\n")
    return found, lacking


def _brief(row: dict[str, Any]) -> str:
    words = []
    if "enqueue" in row:
        words.append(f"enqueued in {row['enqueue']['seconds'] / row['enqueue']['timed'] * 1e6:.0f} us a message")
    if "drain" in row:
        words.append(f"drained {row['drain']['rate']:,.0f}/s")
    return ", ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
