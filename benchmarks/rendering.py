"""What it costs to make a message's bytes: ours, Django's, and base64 alone; CPU time, the least of several tries.

    python -m benchmarks.rendering mailqueue
    python -m benchmarks.rendering django

Each message object is new, as a worker's are; files are new as well, but in ``shared``, where many messages carry one.
Prints one line of JSON, in seconds.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.letters import SENDER, letters, pdf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_TRIES = 7
_SMALL = 300  # messages of 2 KB a try
_LARGE = 4  # messages with a file a try


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one renderer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("renderer", choices=("mailqueue", "django"))
    given = parser.parse_args(arguments)
    figures = _figures(*_ours()) if given.renderer == "mailqueue" else _figures(*_djangos())
    sys.stdout.write(json.dumps(figures) + "\n")


def _ours() -> tuple[Any, Callable[[Any], bytes]]:
    from mailqueue.mail import EmailMultiAlternatives  # noqa: PLC0415 - Django's environment has no mailqueue
    from mailqueue.mail.render import render  # noqa: PLC0415 - as above

    return EmailMultiAlternatives, render


def _djangos() -> tuple[Any, Callable[[Any], bytes]]:
    from django.conf import settings  # noqa: PLC0415 - ours needs no Django
    from django.core.mail import EmailMultiAlternatives  # noqa: PLC0415 - as above

    settings.configure()
    # As Django's SMTP backend does it.
    return EmailMultiAlternatives, lambda message: message.message().as_bytes(linesep="\r\n")


def _figures(kind: Any, render: Callable[[Any], bytes]) -> dict[str, float]:
    def small() -> list[Any]:
        return [_message(kind, item) for item in letters(_SMALL)]

    def large() -> list[Any]:
        return [_message(kind, item, _file()) for item in letters(_LARGE)]

    shared = pdf()

    def shares() -> list[Any]:
        return [_message(kind, item, shared) for item in letters(_LARGE)]

    return {
        "small": _least(small, render),
        "attached": _least(large, render),
        "shared": _least(shares, render),
        "base64": _least(lambda: [_file() for _ in range(_LARGE)], base64.encodebytes),
        "base64_without_lines": _least(lambda: [_file() for _ in range(_LARGE)], binascii.b2a_base64),
    }


def _message(kind: Any, item: Any, content: bytes | None = None) -> Any:
    message = kind(item.subject, item.text, SENDER, [item.recipient], headers={"Message-ID": f"<{item.number}@shop>"})
    message.attach_alternative(item.html, "text/html")
    if content is not None:
        message.attach("invoice.pdf", content, "application/pdf")
    return message


def _file() -> bytes:
    """A file that nobody has seen before."""
    _file_number[0] += 1
    return pdf()[:-8] + b"%08d" % _file_number[0]


_file_number = [0]


def _least(make: Callable[[], Iterable[Any]], act: Callable[[Any], Any]) -> float:
    """The least CPU time (s) of ``act`` on one of what ``make`` gives, over the tries; the first is a warm-up."""
    times = []
    for _ in range(_TRIES + 1):
        things = list(make())
        began = time.process_time()
        for thing in things:
            act(thing)
        times.append((time.process_time() - began) / len(things))
    return min(times[1:])


if __name__ == "__main__":
    main()
