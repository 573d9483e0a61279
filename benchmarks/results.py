"""The rows of a run, kept as JSON, and the figures that they make."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, figure
from benchmarks.plan import CHUNKING, OFFERS
from benchmarks.systems import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Results", "save"]


class Results:
    """The rows, and the figures that they make."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.machine: Mapping[str, Any] = results["machine"]
        self.versions: Mapping[str, str] = results["versions"]
        self.missing: Mapping[str, str] = results["missing"]
        self.failures: Sequence[str] = results["failures"]
        self.render: Mapping[str, Mapping[str, float]] = results["render"]
        self.account: Mapping[str, Mapping[str, float]] = results["account"]
        self._rows: dict[tuple[str, str, int, str], list[Mapping[str, Any]]] = defaultdict(list)
        for row in results["rows"]:
            self._rows[row["scenario"], row["system"], row["rtt"], row["offer"]].append(row)

    def get(
        self, scenario: str, system: str, part: str, name: str, *, rtt: int = 0, offer: Sequence[str] = CHUNKING
    ) -> Figure | None:
        """The figure ``name`` of that ``part`` of the rows; None if it was not measured."""
        rows = self._rows.get((scenario, system, rtt, "+".join(offer)), ())
        return figure(row.get(part, {}).get(name) for row in rows)

    def rate(self, scenario: str, system: str, *, rtt: int = 0, offer: Sequence[str] = CHUNKING) -> Figure | None:
        """Messages drained a second."""
        return self.get(scenario, system, "drain", "rate", rtt=rtt, offer=offer)

    def enqueued(self, scenario: str, system: str) -> Figure | None:
        """Messages enqueued a second."""
        return figure(row["timed"] / row["seconds"] for row in self._enqueues(scenario, system))

    def enqueue_cpu(self, scenario: str, system: str) -> Figure | None:
        """CPU time (s) of the caller for a message."""
        return figure(row["cpu"] / row["timed"] for row in self._enqueues(scenario, system) if "cpu" in row)

    def messages(self, scenario: str, system: str, *, rtt: int = 0, offer: Sequence[str] = CHUNKING) -> int:
        """How many messages a run of it had."""
        return int(self._rows[scenario, system, rtt, "+".join(offer)][0]["messages"])

    def _enqueues(self, scenario: str, system: str) -> list[Mapping[str, float]]:
        rows = self._rows.get((scenario, system, 0, "+".join(CHUNKING)), ())
        return [row["enqueue"] for row in rows if "enqueue" in row]

    def systems(self, scenario: str, rtt: int = 0) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Who was measured there with which relay, in the order of the table of systems."""
        offers = list(OFFERS)
        known = {(system, offer) for found, system, at, offer in self._rows if (found, at) == (scenario, rtt)}
        order = list(SYSTEMS)
        for system, words in sorted(known, key=lambda key: (order.index(key[0]), -len(key[1]))):
            offer = tuple(filter(None, words.split("+")))
            yield system, next(told for told in offers if set(told) == set(offer))


def save(results: Mapping[str, Any], path: Path) -> None:
    """Write the results as JSON, one run a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in results.items() if name != "rows"]
    rows = ",\n".join(map(json.dumps, results["rows"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join([*lines, f'"rows": [\n{rows}\n]']) + "\n}\n")
