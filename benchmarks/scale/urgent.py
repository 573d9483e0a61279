"""How long an urgent message takes, from the call to its arrival, while the workers are busy with a newsletter."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks.scale.rig import Rig, RigTrouble
from mailqueue import conf, enqueue
from mailqueue.mail import EmailMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BULK", "CASES", "spread", "urgent"]

BULK = 100_000
#: Processes of the worker, and s that a round trip to the relay takes.
CASES = ((1, 0.0), (2, 0.0), (1, 0.02))

_EVERY = 0.05  # s between two urgent messages
_LONGEST = 25.0  # s; 500 of them
_LEFT = 2_000  # bulk messages that must still wait, or the worker may have been idle
_PATIENCE = 30.0  # s for the last of them


def urgent(
    *, bulk: int = BULK, cases: Sequence[tuple[int, float]] = CASES, longest: float = _LONGEST
) -> Iterator[dict[str, Any]]:
    """Send an urgent message every 50 ms while a worker drains ``bulk`` others, and look when each arrives."""
    for processes, rtt in cases:
        far = f", relay {rtt * 1000:.0f} ms away" if rtt else ""
        with Rig(f"urgent, {processes} process{'es' if processes > 1 else ''}{far}", rtt=rtt) as rig:
            rig.fill_to(bulk, lane="bulk", kind="letter")
            row: dict[str, Any] = {"experiment": "urgent", "processes": processes, "rtt": rtt * 1000, "bulk": bulk}
            row |= _send(rig, bulk, processes, longest)
            rig.tell(f"p50 {row['p50'] * 1000:.0f} ms, p95 {row['p95'] * 1000:.0f} ms", end="\n")
            yield row


def _send(rig: Rig, bulk: int, processes: int, longest: float) -> dict[str, float]:
    """The figures of the urgent messages, and how many others were sent a second meanwhile."""
    calls: dict[str, float] = {}  # s, time.monotonic(), by recipient
    with conf.override(**rig.settings), rig.worker(processes):
        rig.await_arrivals(500, bulk)
        _call(0)  # opens the connections
        at = began = time.monotonic()
        others = rig.sink.count
        while at < began + longest and (sent := rig.sink.count) < bulk - _LEFT:
            rig.tell(f"{len(calls)} urgent messages, {sent:,} of {bulk:,} others sent")
            calls[_address(len(calls) + 1)] = time.monotonic()
            _call(len(calls))
            at += _EVERY
            time.sleep(max(0.0, at - time.monotonic()))
        others = rig.sink.count - others - len(calls)
        rate = others / (time.monotonic() - began)
        arrived = _await(rig, calls)
    return {**spread([arrived[address] - at for address, at in calls.items()]), "others": rate}


def _await(rig: Rig, calls: dict[str, float]) -> dict[str, float]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        arrived = {arrival.recipients[0]: arrival.at for arrival in rig.sink.arrivals()}
        lacking = len(calls.keys() - arrived.keys())
        if not lacking:
            return arrived
        if time.monotonic() > deadline:
            raise RigTrouble(f"{lacking} of {len(calls)} urgent messages have not arrived")
        time.sleep(0.5)


def _call(number: int) -> None:
    message = EmailMessage("Your code", f"It is {number:06d}.", "login@shop.example", [_address(number)])
    enqueue(message, lane="urgent")


def _address(number: int) -> str:
    return f"urgent{number}@example.com"


def spread(waits: list[float]) -> dict[str, float]:
    """The usual and the longest of ``waits``, in s."""
    if len(waits) < 20:
        raise RigTrouble(f"only {len(waits)} urgent messages were sent before the others were gone")
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return {"messages": len(waits), "p50": cuts[49], "p95": cuts[94], "longest": max(waits)}
