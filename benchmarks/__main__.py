"""Run the benchmarks, and write docs/performance.md's tables and plots.

    python -m benchmarks [--quick] [--only SYSTEM ...] [--rounds N] [--json FILE] [--skip-missing]

Makes each peer's virtual environment in .cache/bench first (a minute, once). Then 15 minutes on two idle cores, 3 with --quick;
only a full run of all systems is written to docs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.environments import EnvironmentTrouble, python_of, versions
from benchmarks.measure import RunTrouble, run
from benchmarks.plan import plan, rounds_of
from benchmarks.systems import PACKAGES, SYSTEMS, interpreter

if TYPE_CHECKING:
    from collections.abc import Sequence


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, half the messages; docs stay as they are")
    parser.add_argument("--only", nargs="+", default=[], choices=sorted(SYSTEMS), metavar="SYSTEM", help="these alone")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of what has a budget (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    parser.add_argument("--skip-missing", action="store_true", help="go on without peers that cannot be installed")
    given = parser.parse_args(words)
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Run them; 1 if a run failed or a peer is missing."""
    given = arguments_of(words)
    cases = plan(rounds=given.rounds, quick=given.quick, only=given.only)
    environments, lacking = _environments({case.system for case in cases})
    if lacking and not given.skip_missing:
        return 1
    cases = [case for case in cases if SYSTEMS[case.system].environment not in lacking]
    results: dict[str, Any] = {"machine": {}, "versions": {}, "missing": lacking, "rows": [], "failures": []}
    turns = list(rounds_of(cases))
    began = time.monotonic()
    for number, (turn, case) in enumerate(turns, 1):
        system = SYSTEMS[case.system]
        sys.stderr.write(f"[{number}/{len(turns)}, {time.monotonic() - began:.0f} s] {case} ... ")
        sys.stderr.flush()
        try:
            row = run(case, system, interpreter(system, environments))
        except RunTrouble as trouble:
            results["failures"].append(str(trouble))
            sys.stderr.write(f"FAILED\n{trouble}\n")
        else:
            results["rows"].append({**row, "round": turn})
            sys.stderr.write(f"{_brief(row)}\n")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(bool(results["failures"]))


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
