"""The producer of every system: enqueues the same mail through the same calls, and times them.

    python -m benchmarks.peers.<system> --shape one --count 1000

Shapes: ``one``, a ``send_mail()`` with text and HTML a message; ``mass``, one ``send_mass_mail()`` for all of them; ``pdf``,
one ``send_messages()`` of messages with the same attachment of 1 MB. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.letters import SENDER, letters, pdf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.letters import Letter

__all__ = ["WARM", "Mail", "api", "port", "produce"]

WARM = 20  # messages before the clock starts: imports, connections


class Mail(Protocol):
    """How a system takes mail."""

    def one(self, item: Letter) -> Any:
        """One message of text and HTML, in a call of its own."""

    def mass(self, items: Iterable[Letter]) -> Any:
        """All of them, plain, in one call."""

    def attached(self, items: Iterable[Letter], name: str, content: bytes) -> Any:
        """All of them, with the same file, in one call."""


class _DjangoApi:
    """Through the module that has Django's mail API."""

    def __init__(self, mail: Any) -> None:
        self._mail = mail

    def one(self, item: Letter) -> Any:
        return self._mail.send_mail(item.subject, item.text, SENDER, [item.recipient], html_message=item.html)

    def mass(self, items: Iterable[Letter]) -> Any:
        return self._mail.send_mass_mail((item.subject, item.plain, SENDER, [item.recipient]) for item in items)

    def attached(self, items: Iterable[Letter], name: str, content: bytes) -> Any:
        messages = []
        for item in items:
            message = self._mail.EmailMultiAlternatives(item.subject, item.text, SENDER, [item.recipient])
            message.attach_alternative(item.html, "text/html")
            message.attach(name, content, "application/pdf")
            messages.append(message)
        return self._mail.get_connection().send_messages(messages)


def api(mail: Any) -> Mail:
    """A system that is used through Django's mail API: ``django.core.mail``, or ours."""
    return _DjangoApi(mail)


def port() -> int:
    """The port of the relay, as the harness gives it."""
    return int(os.environ["BENCH_PORT"])


def produce(mail: Mail) -> None:
    """Do what the command line asks for, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("one", "mass", "pdf"), default="one")
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args()
    warm = min(WARM, given.count - 1)
    if given.shape == "one":
        figures = _each(mail.one, given.count, warm)
    else:
        figures = _together(mail, given.count, warm, given.shape)
    sys.stdout.write(json.dumps(figures) + "\n")


def _each(one: Callable[[Letter], Any], count: int, warm: int) -> dict[str, float]:
    for item in letters(warm):
        one(item)
    items = list(letters(count - warm, first=warm))
    before, cpu = _memory(), time.process_time()
    times = []
    for item in items:
        began = time.perf_counter()
        one(item)
        times.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    grown = _memory() - before
    times.sort()
    return {
        "timed": len(times),
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "seconds": sum(times),
        "cpu": cpu,
        "rss_growth": grown,
    }


def _together(mail: Mail, count: int, warm: int, shape: str) -> dict[str, float]:
    if shape == "pdf":
        content = pdf()
        before, cpu, began = _memory(), time.process_time(), time.perf_counter()
        mail.attached(letters(count), "invoice.pdf", content)
        timed = count
    else:
        mail.mass(letters(warm))
        items = list(letters(count - warm, first=warm))
        before, cpu, began = _memory(), time.process_time(), time.perf_counter()
        mail.mass(iter(items))
        timed = count - warm
    seconds = time.perf_counter() - began
    return {"timed": timed, "seconds": seconds, "cpu": time.process_time() - cpu, "rss_growth": _memory() - before}


def _memory() -> int:
    """The most memory that this process has had (bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
