"""From the rows of the experiments to the tables and the plot of docs/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, digits, figure
from benchmarks.plot import Line, chart
from benchmarks.words import ms_of, multiple, table, us

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["blocks", "plot"]


def blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The generated blocks of the page, by name."""
    rows = results["rows"]
    return {
        "scale-machine": _machine(results),
        "scale-depth": _depth(rows),
        "scale-urgent": _urgent(rows),
        "scale-processes": _processes(rows),
        "scale-memory": _memory(rows),
    }


def plot(results: Mapping[str, Any]) -> str:
    """Throughput against the depth of the queue, as SVG."""
    found = {f"{depth:,}": _figure(rows, "rate") for depth, rows in _by(results["rows"], "depth", "depth").items()}
    known = {place: rate for place, rate in found.items() if rate}
    lines = [
        Line("median", {place: rate.median for place, rate in known.items()}, ours=True),
        Line("best of the rounds", {place: rate.high for place, rate in known.items()}, floor=True),
        Line("worst of the rounds", {place: rate.low for place, rate in known.items()}, floor=True),
    ]
    return chart(
        "Messages a second, one worker process, by what waits in the queue",
        list(found),
        lines,
        x_title="messages that wait when the drain begins",
        y_title="messages/s",
        logarithmic=False,
    )


def _machine(results: Mapping[str, Any]) -> str:
    told = results["machine"]
    measured = (
        f"Measured on {told['when']} at commit {told.get('commit', 'unknown')}: {told['processor']}, {told['cores']} cores, "
        f"{told.get('memory', '?')}, {told['python']}, Valkey {results.get('store', '?')}. "
        f"Load of the machine before: {told.get('load', 0)}."
    )
    return "\n".join([measured, *(f"FAILED: {failure}" for failure in results["failures"])])


def _depth(rows: Rows) -> str:
    lines = []
    flat: Figure | None = None
    for depth, found in _by(rows, "depth", "depth").items():
        rate = _figure(found, "rate")
        flat = flat or rate
        against = rate.median / flat.median if rate and flat else None
        scripts = figure(row["calls"]["evalsha"][0] * row["calls"]["evalsha"][1] / 1e6 for row in found)
        cpu = [us(_figure(found, f"cpu_{name}")) for name in ("worker", "store", "sink")]
        lines.append([f"{depth:,}", _told(rate), multiple(against), *cpu, us(scripts)])
    head = [
        "messages that wait",
        "messages/s",
        "of the first",
        "CPU a message: worker",
        "store",
        "sink",
        "scripts' time",
    ]
    return table(head, lines)


def _urgent(rows: Rows) -> str:
    lines = []
    for row in rows:
        if row["experiment"] == "urgent":
            relay = f"{row['rtt']:.0f} ms away" if row["rtt"] else "near"
            waits = [ms_of(row[name]) for name in ("p50", "p95", "longest")]
            others = f"{digits(row['others'])}/s"
            lines.append([f"{row['processes']}, relay {relay}", str(row["messages"]), *waits, others])
    return table(["worker processes", "urgent messages", "p50", "p95", "longest", "others meanwhile"], lines)


def _processes(rows: Rows) -> str:
    lines = []
    for number, found in _by(rows, "fleet", "processes").items():
        cpu = [us(_figure(found, f"cpu_{name}")) for name in ("worker", "store", "sink")]
        lines.append([str(number), _told(_figure(found, "rate")), *cpu])
    return table(["worker processes", "messages/s", "CPU a message: worker", "store", "sink"], lines)


def _memory(rows: Rows) -> str:
    lines = []
    for kind, found in _by(rows, "memory", "kind").items():
        by_shape = {row["shape"]: row for row in found}
        one, parcels = by_shape.get("one", {}), by_shape.get("parcels", {})
        count = found[0]["messages"]
        sizes = [_octets(one.get("waiting")), _octets(parcels.get("waiting")), _octets(parcels.get("sent"))]
        whole = f"{max(row['waiting'] for row in found) * count / 1e6:.1f} MB"
        lines.append([kind, f"{count:,}", *sizes, whole])
    head = ["octets a message", "messages", "waiting, a task each", "waiting, in parcels", "sent", "all, waiting"]
    return table(head, lines)


def _by(rows: Rows, experiment: str, name: str) -> dict[Any, list[Mapping[str, Any]]]:
    """The rows of an experiment by what was varied, in order."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["experiment"] == experiment:
            found.setdefault(row[name], []).append(row)
    return found


def _figure(rows: Iterable[Mapping[str, Any]], name: str) -> Figure | None:
    return figure(row.get(name) for row in rows)


def _told(rate: Figure | None) -> str:
    return "-" if rate is None else str(rate)


def _octets(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
