"""What a message costs when several processes of a worker share the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.scale.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DRAINED", "PROCESSES", "fleet"]

PROCESSES = (1, 2, 4)
DRAINED = 30_000


def fleet(*, rounds: int = 3, processes: Sequence[int] = PROCESSES, drained: int = DRAINED) -> Iterator[dict[str, Any]]:
    """Let workers of so many processes drain the same number of letters, in turn."""
    with Rig("processes") as rig:
        for turn in range(rounds):
            for number in processes:
                rig.name = f"{number} process{'es' if number > 1 else ''}"
                # More than are sent, so that no process is idle before the last of them.
                rig.fill_to(drained + drained // 10, kind="letter")
                figures = rig.drain(drained, concurrency=number)
                rig.tell(f"{figures.rate:,.0f}/s", end="\n")
                yield {"experiment": "fleet", "processes": number, "round": turn, **figures.row()}
