"""Is a worker as fast when much is waiting? 50,000 messages drained from queues of different depths."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from benchmarks.scale.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DEPTHS", "DRAINED", "depth"]

DEPTHS = (50_000, 300_000, 1_000_000)
DRAINED = 50_000


def depth(*, rounds: int = 3, depths: Sequence[int] = DEPTHS, drained: int = DRAINED) -> Iterator[dict[str, Any]]:
    """Drain from each of ``depths`` in turn, round by round, so that what slows the machine for a minute meets all alike.

    Each depth has a store of its own, filled up again before each round.
    """
    with contextlib.ExitStack() as stack:
        rigs = {number: stack.enter_context(Rig(f"depth {number:,}")) for number in depths}
        for rig in rigs.values():  # the first drain of all is slower, whatever the depth: it does not count
            rig.fill_to(drained // 10)
            rig.drain(drained // 10)
        for turn in range(rounds):
            for number, rig in rigs.items():
                rig.fill_to(number)
                figures = rig.drain(drained)
                rig.tell(f"{figures.rate:,.0f}/s", end="\n")
                yield {"experiment": "depth", "depth": number, "round": turn, **figures.row()}
