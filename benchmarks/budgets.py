"""The budgets: what was asked for before it was built, beside what a run has measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import ratio
from benchmarks.plan import FAR, PIPELINING
from benchmarks.words import kilobytes, mebibytes, megabytes, ms_of, multiple, per_second, table, us, us_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results

__all__ = ["budgets"]


def budgets(results: Results) -> str:
    """The table of what was asked for, what was measured, and what the peer did in the same run."""
    rows = [
        _budget_enqueue(results),
        _budget_mass(results),
        _budget_drain(results, "one", "drain, one message a task, local relay", "django-celery-email-1", 3.5, 6),
        _budget_drain(results, "mass", "drain after `send_mass_mail`, local relay", "django-celery-email-100", 3, 5),
        *_budgets_far(results),
        *_budgets_render(results),
        *_budgets_memory(results),
    ]
    return table(["budget", "asked for", "measured", "the peer's, same run", "met"], rows)


def _row(what: str, asked: str, measured: str, peer: str, met: bool | None) -> list[str]:
    return [what, asked, measured, peer, {True: "yes", False: "**no**", None: "-"}[met]]


def _budget_enqueue(results: Results) -> list[str]:
    ours = results.get("one", "mailqueue", "enqueue", "p50")
    peer = results.get("one", "django-celery-email-1", "enqueue", "p50")
    floor = results.get("one", "lpush", "enqueue", "p50")
    part = ratio(ours, peer)
    return _row(
        "enqueue one 2 KB message, p50",
        "<= 0.75x django-celery-email; aim 0.5x",
        f"{us(ours)}: {multiple(part)}",
        f"{us(peer)} (raw LPUSH {us(floor)})",
        None if part is None else part <= 0.75,
    )


def _budget_mass(results: Results) -> list[str]:
    ours = results.enqueued("mass", "mailqueue")
    grown = results.get("mass", "mailqueue", "enqueue", "rss_growth")
    peers = [results.enqueued("mass", f"django-celery-email-{chunk}") for chunk in (10, 100)]
    return _row(
        "enqueue 10,000 by `send_mass_mail`",
        ">= 15,000/s; aim 30,000/s; memory flat",
        f"{per_second(ours)}, process grew by {mebibytes(grown)}",
        f"{per_second(peers[0])} in chunks of 10, {per_second(peers[1])} of 100",
        None if ours is None else ours.median >= 15_000,
    )


def _budget_drain(results: Results, scenario: str, what: str, peer: str, least: float, aim: float) -> list[str]:
    ours, theirs = results.rate(scenario, "mailqueue"), results.rate(scenario, peer)
    factor = ratio(ours, theirs)
    return _row(
        what,
        f">= {least:g}x {peer.rpartition('-')[0]} (chunks of {peer.rpartition('-')[2]}); aim {aim:g}x",
        f"{per_second(ours)}: {multiple(factor)}",
        per_second(theirs),
        None if factor is None else factor >= least,
    )


def _budgets_far(results: Results) -> Iterator[list[str]]:
    chunked = results.rate("far", "mailqueue", rtt=FAR)
    peer = results.rate("far", "django-celery-email-100", rtt=FAR)
    base = results.rate("far", "smtplib", rtt=FAR)
    piped = results.rate("far", "mailqueue", rtt=FAR, offer=PIPELINING)
    four = results.rate("far", "mailqueue-4", rtt=FAR, offer=PIPELINING)
    yield _row(
        f"drain, relay {FAR} ms away, CHUNKING",
        ">= 1,000/s",
        per_second(chunked),
        per_second(peer),
        None if chunked is None else chunked.median >= 1000,
    )
    factor = ratio(piped, base)
    yield _row(
        f"drain, relay {FAR} ms away, PIPELINING only",
        ">= 4x smtplib, which waits four times where one must wait once",
        f"{per_second(piped)}: {multiple(factor)}",
        f"smtplib {per_second(base)}",
        None if factor is None else round(factor, 1) >= 4,
    )
    more = ratio(four, piped)
    yield _row(
        "the same with 4 connections",
        "x 4, less a tenth",
        f"{per_second(four)}: {multiple(more)}",
        per_second(results.rate("far", "post-office-20", rtt=FAR)) + " (post_office, 20 threads)",
        None if more is None else more >= 3.6,
    )


def _budgets_render(results: Results) -> Iterator[list[str]]:
    ours, peer = results.render.get("mailqueue", {}), results.render.get("django", {})
    small, attached, base = ours.get("small"), ours.get("attached"), ours.get("base64")
    yield _row(
        "render 2 KB text+HTML",
        "<= 60 us",
        us_of(small),
        f"Django {us_of(peer.get('small'))}",
        None if small is None else small <= 60e-6,
    )
    factor = attached / base if attached and base else None
    yield _row(
        "render with a 1 MB PDF",
        "<= 1.5x base64 alone",
        f"{ms_of(attached)}: {multiple(factor)}",
        f"Django {ms_of(peer.get('attached'))}; base64 {ms_of(base)}",
        None if factor is None else factor <= 1.5,
    )


def _budgets_memory(results: Results) -> Iterator[list[str]]:
    ours = results.get("one", "mailqueue", "enqueue", "store_bytes")
    peer = results.get("one", "django-celery-email-1", "enqueue", "store_bytes")
    part = ratio(ours, peer)
    yield _row(
        "Redis memory of a 2 KB message",
        "<= 0.75x django-celery-email",
        f"{kilobytes(ours)}: {multiple(part)}",
        kilobytes(peer),
        None if part is None else part <= 0.75,
    )
    ours, peer = (
        results.get("attached", system, "enqueue", "store_bytes") for system in ("mailqueue", "django-celery-email-10")
    )
    yield _row(
        "Redis memory of a 1 MB PDF to 100",
        "<= 3 MB",
        megabytes(ours),
        megabytes(peer),
        None if ours is None else ours.median * 100 <= 3e6,
    )
