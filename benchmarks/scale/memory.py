"""What messages occupy in the store: while they wait, when they are sent, and when their records have ended."""

from __future__ import annotations

import base64
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmarks.letters import SENDER, address, pdf
from benchmarks.scale.fill import letter, note
from benchmarks.scale.rig import Rig
from mailqueue import conf, enqueue, enqueue_many
from mailqueue.mail import EmailMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["memory"]

_MANY = 5_000  # messages of each kind: what the store itself occupies is then below an octet each


def noise(number: int) -> EmailMessage:
    """A message of 2 KB that hardly compresses: the worst case."""
    text = base64.encodebytes(random.Random(number).randbytes(1480)).decode()
    return EmailMessage(f"Your key {number}", text, SENDER, [address(number)])


def attached(number: int) -> EmailMessage:
    """A letter with the same PDF of 1 MB as all others."""
    message = letter(number)
    message.attach("terms.pdf", _PDF, "application/pdf")
    return message


_PDF = pdf()
_KINDS: Mapping[str, tuple[Callable[[int], EmailMessage], int]] = {
    "note, 300 octets": (note, _MANY),
    "letter, 2 KB": (letter, _MANY),
    "2 KB that do not compress": (noise, _MANY),
    "letter and PDF of 1 MB": (attached, 100),
    "letter and PDF of 1 MB, to more": (attached, 1_000),
}


def memory(*, many: int = _MANY) -> Iterator[dict[str, Any]]:
    """Enqueue each kind of mail in tasks of its own and in parcels; let the parcels be sent, and look at what is left."""
    for kind, (make, full) in _KINDS.items():
        count = min(full, many)
        for shape in ("one", "parcels"):
            with Rig(f"memory, {kind}, {shape}") as rig, conf.override(**rig.settings):
                enqueue(note(0))  # opens the connections
                if shape == "parcels":
                    rig.send(1)  # the store learns the scripts
                before = rig.octets()
                _enqueue(make, count, shape)
                row: dict[str, Any] = {"experiment": "memory", "kind": kind, "shape": shape, "messages": count}
                row |= {"waiting": (rig.octets() - before) / count, "keys": _by_key(rig, count)}
                if shape == "parcels":
                    rig.send(count)
                    row |= {"sent": (rig.octets() - before) / count, "keys_sent": _by_key(rig, count)}
                rig.tell(f"{row['waiting']:,.0f} octets a message, {row.get('sent', 0):,.0f} when sent", end="\n")
                yield row


def _enqueue(make: Callable[[int], EmailMessage], count: int, shape: str) -> None:
    messages = (make(number) for number in range(1, count + 1))
    if shape == "parcels":
        enqueue_many(messages)
    else:
        for message in messages:
            enqueue(message)


def _by_key(rig: Rig, count: int) -> dict[str, float]:
    """Octets a message by kind of key, as MEMORY USAGE tells them."""
    found: Counter[str] = Counter()
    names = list(rig.client.scan_iter(count=1000))
    with rig.client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.memory_usage(name, samples=0)
        for name, octets in zip(names, pipe.execute(), strict=True):
            words = name.decode().split(":")
            found[words[1] if name.startswith(b"{") else words[0]] += octets or 0
    return {name: round(octets / count, 1) for name, octets in found.items() if octets > count}
