"""From the rows of a run to the tables and plots of docs/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.account import STEPS
from benchmarks.budgets import budgets
from benchmarks.figures import digits, ratio
from benchmarks.plan import FAR, OFFERS, RTTS
from benchmarks.plot import Line, chart
from benchmarks.systems import SYSTEMS
from benchmarks.words import kilobytes, megabytes, ms_of, multiple, per_second, table, us, us_of

if TYPE_CHECKING:
    from benchmarks.results import Results

__all__ = ["blocks", "plot"]

_NEAREST = "0"  # ms, on the loopback


def blocks(results: Results) -> dict[str, str]:
    """The generated blocks of the page, by name."""
    return {
        "machine": _machine(results),
        "budgets": budgets(results),
        "enqueue": _enqueue(results),
        "one": _drain(results, "one", "django-celery-email-1"),
        "mass": _drain(results, "mass", "django-celery-email-100"),
        "far": _far(results),
        "account": _account(results),
        "render": _render(results),
        "memory": _memory(results),
    }


def plot(results: Results) -> str:
    """Throughput against round-trip time, as SVG."""
    lines = []
    places = (0, *RTTS)
    for system, offer in results.systems("far", FAR):
        near = next(
            (
                found
                for scenario in ("mass", "one")
                if (
                    found := results.rate(
                        scenario, "post-office-5" if system == "post-office-20" else system, offer=offer
                    )
                )
            ),
            None,
        )
        values = {_NEAREST: near.median} if near else {}
        for rtt in RTTS:
            if found := results.rate("far", system, rtt=rtt, offer=offer):
                values[str(rtt)] = found.median
        lines.append(
            Line(_title(system, offer), values, ours=system.startswith("mailqueue"), floor=not SYSTEMS[system].enqueue)
        )
    return chart(
        "Messages a second, one worker process, by the relay's distance",
        [str(place) for place in places],
        lines,
        x_title="round-trip time to the relay (ms)",
        y_title="messages/s",
    )


def _title(system: str, offer: tuple[str, ...]) -> str:
    title = SYSTEMS[system].title
    # The peers use neither extension: only who does is told apart by them.
    return f"{title}, {OFFERS[offer]}" if system.startswith("mailqueue") or system == "pipelined" else title


def _machine(results: Results) -> str:
    told = results.machine
    if not told:
        return "Not measured yet."
    package = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    at = f" at commit {told['commit']}" if "commit" in told else ""
    measured = (
        f"Measured on {told['when']}{at}: {told['processor']}, {told['cores']} cores, "
        f"{told.get('memory', '?')}, {told['system']}, {told['python']}; {package}. "
        f"Load of the machine before the first run: {told.get('load', 0)}."
    )
    words = [measured]
    words += [f"Not measured, because it could not be installed: {name}." for name in results.missing]
    words += [f"FAILED: {failure.splitlines()[0]}" for failure in results.failures]
    return "\n\n".join(words)


def _enqueue(results: Results) -> str:
    rows = []
    for system in dict.fromkeys(found for scenario in ("one", "mass") for found, _ in results.systems(scenario)):
        one = [results.get("one", system, "enqueue", name) for name in ("p50", "p99")]
        cpu = [us(results.enqueue_cpu(scenario, system)) for scenario in ("one", "mass")]
        mass = results.enqueued("mass", system)
        if any(one) or mass:
            rows.append([SYSTEMS[system].title, *map(us, one), cpu[0], per_second(mass), cpu[1]])
    return table(["system", "one, p50", "p99", "CPU a message", "`send_mass_mail`", "CPU a message"], rows)


def _drain(results: Results, scenario: str, base: str) -> str:
    rows = []
    for system, offer in results.systems(scenario):
        rate = results.rate(scenario, system, offer=offer)
        if rate is None:
            continue
        cpu = [
            results.get(scenario, system, "drain", f"cpu_{name}", offer=offer) for name in ("worker", "store", "sink")
        ]
        against = multiple(ratio(rate, results.rate(scenario, base)))
        messages = f"{results.messages(scenario, system, offer=offer):,}"
        rows.append([_title(system, offer), messages, str(rate), against, *map(us, cpu)])
    base_title = SYSTEMS[base].title
    return table(
        ["system", "messages", "messages/s", f"x {base_title}", "CPU a message: worker", "store", "sink"], rows
    )


def _far(results: Results) -> str:
    rows = []
    for system, offer in results.systems("far", FAR):
        rates = [results.rate("far", system, rtt=rtt, offer=offer) for rtt in RTTS]
        rows.append([_title(system, offer), *("-" if rate is None else str(rate) for rate in rates)])
    return table(["messages/s", *(f"{rtt} ms" for rtt in RTTS)], rows)


def _account(results: Results) -> str:
    one, mass = (results.account.get(shape, {}) for shape in ("1", "100"))
    rows = [[name, digits(one[name]), digits(mass.get(name, 0)), STEPS.get(name, "")] for name in one]
    return table(["CPU time a message (us)", "one a task", "100 a task", "what it is"], rows)


def _render(results: Results) -> str:
    names = {"mailqueue": "mailqueue", "django": "Django, `message().as_bytes()`"}
    rows = [
        [title, us_of(found.get("small")), ms_of(found.get("attached")), ms_of(found.get("shared"))]
        for name, title in names.items()
        if (found := results.render.get(name))
    ]
    if base := results.render.get("mailqueue"):
        rows.append(["floor: `base64.encodebytes()` of the PDF", "-", ms_of(base.get("base64")), "-"])
        rows.append(["floor: the same without lines", "-", ms_of(base.get("base64_without_lines")), "-"])
    return table(["CPU time a message", "2 KB text+HTML", "with a PDF of 1 MB", "with one that many share"], rows)


def _memory(results: Results) -> str:
    rows = []
    pairs = (("mailqueue", "mailqueue"), ("django-celery-email-1", "django-celery-email-100"), ("plain-celery", ""))
    for one, mass in pairs:
        found = [
            results.get("one", one, "enqueue", "store_bytes"),
            results.get("mass", mass, "enqueue", "store_bytes"),
        ]
        attached = results.get(
            "attached", one if one == "mailqueue" else "django-celery-email-10", "enqueue", "store_bytes"
        )
        large = megabytes(attached) if one != "plain-celery" else "-"
        rows.append([SYSTEMS[one].title.partition(",")[0], *map(kilobytes, found), large])
    head = ["Redis memory", "a message, one a task", "after `send_mass_mail`", "100 messages with a PDF of 1 MB"]
    return table(head, rows)
