"""Measure how it behaves when there is much of it, and write that part of docs/performance.md.

    python -m benchmarks.scale [--quick] [--only depth fleet urgent memory] [--rounds N] [--json FILE] [--from FILE]

12 minutes on two idle cores, and 4 GB of memory: the deepest queue holds a million messages. --quick takes two minutes and a
tenth of the messages. Only a full run is written to docs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.helper import ROOT
from benchmarks.machine import machine
from benchmarks.page import fill
from benchmarks.results import save
from benchmarks.scale.depth import DEPTHS, DRAINED, depth
from benchmarks.scale.fleet import fleet
from benchmarks.scale.memory import memory
from benchmarks.scale.report import blocks, plot
from benchmarks.scale.rig import RigTrouble
from benchmarks.scale.urgent import urgent
from mailqueue.testing import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PAGE = ROOT / "docs" / "performance.md"
DIRECTORY = ROOT / "docs" / "performance"
LATEST = ROOT / ".cache" / "bench" / "scale.json"
EXPERIMENTS = ("depth", "fleet", "urgent", "memory")


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one round, a tenth of the messages; docs stay as they are"
    )
    parser.add_argument("--only", nargs="+", default=EXPERIMENTS, choices=EXPERIMENTS, help="these experiments alone")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of what is drained (%(default)s)")
    parser.add_argument("--json", type=Path, default=LATEST, metavar="FILE", help="where the rows go (%(default)s)")
    parser.add_argument(
        "--from", dest="write_from", type=Path, metavar="FILE", help="measure nothing: write docs from it"
    )
    return parser.parse_args(words)


def experiments(*, quick: bool, rounds: int) -> Mapping[str, Callable[[], Iterator[dict[str, Any]]]]:
    """What gives the rows of each experiment."""
    if quick:
        return {
            "depth": lambda: depth(rounds=1, depths=[number // 10 for number in DEPTHS], drained=DRAINED // 10),
            "fleet": lambda: fleet(rounds=1, drained=5_000),
            "urgent": lambda: urgent(bulk=20_000, longest=5.0),
            "memory": lambda: memory(many=500),
        }
    return {
        "depth": lambda: depth(rounds=rounds),
        "fleet": lambda: fleet(rounds=min(rounds, 3)),  # its figure is CPU time, which lies closer together
        "urgent": urgent,
        "memory": memory,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run them; 1 if one failed."""
    given = arguments_of(words)
    if given.write_from:
        publish(json.loads(given.write_from.read_text()))
        return 0
    results: dict[str, Any] = {"machine": machine(), "store": _version(), "rows": [], "failures": []}
    for name, measure in experiments(quick=given.quick, rounds=given.rounds).items():
        if name in given.only:
            try:
                for row in measure():
                    results["rows"].append(row)
                    save(results, given.json)  # each time: what was measured is kept when the rest is given up
            except RigTrouble as trouble:
                results["failures"].append(f"{name}: {trouble}")
                sys.stderr.write(f"\nFAILED {name}: {trouble}\n")
    save(results, given.json)
    if not given.quick and set(given.only) == set(EXPERIMENTS):
        publish(results)
    for name, text in blocks(results).items():
        sys.stdout.write(f"## {name}\n\n{text}\n\n")
    return int(bool(results["failures"]))


def publish(results: Mapping[str, Any]) -> None:
    """Keep the results in docs, and draw and write what the page says of them."""
    save(results, DIRECTORY / "scale.json")
    (DIRECTORY / "depth.svg").write_text(plot(results))
    PAGE.write_text(fill(PAGE.read_text(), blocks(results)))


def _version() -> str:
    with EmbeddedValkey() as store, redis.Redis.from_url(store.url) as client:
        told: Any = client.info("server")
        return str(told.get("valkey_version") or told.get("redis_version"))


if __name__ == "__main__":
    raise SystemExit(main())
