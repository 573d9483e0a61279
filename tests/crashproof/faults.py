"""The faults: what can be done to a rig, how often, and how it is undone."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from tests.crashproof.ambush import STAGES, Ambush
from tests.crashproof.pace import LEASE
from tests.crashproof.relay import MISBEHAVIOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.crashproof.rig import Member, Rig

__all__ = ["KILLS", "Attack"]

#: Faults that are kills of processes, each counted once however many processes it ends.
KILLS = ("kill a child", "kill a worker", "kill a worker's main", "kill all workers", "kill the store")

# Relay faults that cost a message an answer are asked for twice as often as those that it hears of.
_MISBEHAVIOUR_WEIGHTS = [2 if how.endswith(("kept", "drop")) else 1 for how in MISBEHAVIOURS]


class Attack:
    """Faults at random moments, about ``rate`` a second, drawn by ``seed``; ``counts`` are those that took place.

    ``ids_of(number)`` says under which ids a message that the relay sees may be in the ledger.
    The draws go by the seed alone; what they meet goes by the machine, so a replay is as like as processes allow.
    """

    def __init__(
        self,
        rig: Rig,
        ids_of: Callable[[int], Sequence[str]],
        seed: str,
        rate: float,
        wakes: float,
        log: Callable[..., None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.processes_killed = 0
        self.tasks_dropped = 0
        self._rig = rig
        self._ids_of = ids_of
        self._random = random.Random(seed)
        self._rate = rate
        self._log = log
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._tie = itertools.count()
        self._weights = _WEIGHTS | {"wake a process into another's claim": (wakes, Attack._wake)}

    def run(self, draws: int) -> Iterator[None]:
        """Draw so many faults; yields after each. What is then still broken is for the rig to heal."""
        next_at = time.monotonic()
        while draws:
            if self._undo():
                continue
            now = time.monotonic()
            if next_at <= now:
                self._one()
                draws -= 1
                next_at = time.monotonic() + self._random.expovariate(self._rate)
                yield
            else:
                soonest = min(next_at, self._later[0][0] if self._later else next_at)
                time.sleep(max(0.0, soonest - now))

    def _one(self) -> None:
        kinds = list(self._weights)
        kind = self._random.choices(kinds, [self._weights[name][0] for name in kinds])[0]
        what = self._weights[kind][1](self)
        if what is None:
            return
        if kind != "misbehave":  # those are counted when they are played
            self.counts[kind] += 1
        self._log(kind, what)

    def _in(self, seconds: float, undo: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._tie), undo))

    def _undo(self) -> bool:
        """Undo what is due first, if anything is."""
        due = bool(self._later) and self._later[0][0] <= time.monotonic()
        if due:
            heapq.heappop(self._later)[2]()
        return due

    def _until(self, look: Callable[[], Any], seconds: float) -> Any:
        """What ``look`` finds within so many seconds, in which nothing new is broken."""
        deadline = time.monotonic() + seconds
        while not (found := look()) and time.monotonic() < deadline:
            if not self._undo():
                time.sleep(0.01)
        return found

    # -- processes: each says what it has done, None if there was nothing to do it to

    def _kill_child(self) -> Any:
        children = self._rig.children()
        place = self._random.random()
        if not children:
            return None
        member, pid = children[int(place * len(children))]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.processes_killed += 1
        return f"{member.name}:{pid}"

    def _kill_worker(self) -> Any:
        member = self._member()
        pause = self._random.uniform(0, 1)
        if not member.running:
            return None
        self._end(member, pause)
        return member.name

    def _kill_main(self) -> Any:
        """Its children go on for a moment, as orphans."""
        member = self._member()
        pause = self._random.uniform(0.1, 1)
        if not member.running:
            return None
        os.kill(member.child.pid, signal.SIGKILL)
        self.processes_killed += 1
        self._in(pause, member.start)
        return member.name

    def _kill_all(self) -> Any:
        members = [member for member in self._rig.crew if member.running]
        for member in members:
            self._end(member, self._random.uniform(0, 1))
        return [member.name for member in members] or None

    def _end(self, member: Member, pause: float) -> None:
        self.processes_killed += 1 + len(member.forks())
        member.child.kill()
        self._in(pause, member.start)

    def _kill_store(self) -> Any:
        pause = self._random.choice((0.0, 0.0, 0.2, 0.6, 1.5))
        if not self._rig.store.running:
            return None
        self._rig.kill_store()
        self.processes_killed += 1
        self._in(pause, self._start_store)
        return f"for {pause} s"

    def _start_store(self) -> None:
        if not self._rig.store.running:
            self._rig.store.start()

    def _stop_worker(self) -> Any:
        """In good order, as a deployment does."""
        member = self._member()
        if not member.running:
            return None
        member.signal(signal.SIGCONT)
        member.child.signal(signal.SIGTERM)
        self._in(4.0, lambda: self._begin_anew(member))
        return member.name

    @staticmethod
    def _begin_anew(member: Member) -> None:
        member.child.kill()  # unless it has ended
        member.start()

    def _freeze_worker(self) -> Any:
        member = self._member()
        seconds = LEASE * self._random.uniform(1.1, 2)
        if not member.running:
            return None
        pid = member.child.pid
        member.signal(signal.SIGSTOP)

        def thaw() -> None:
            if member.child.running and member.child.pid == pid:
                member.signal(signal.SIGCONT)

        self._in(seconds, thaw)
        return f"{member.name} for {seconds:.1f} s"

    def _freeze_child(self) -> Any:
        children = self._rig.children()
        place, seconds = self._random.random(), LEASE * self._random.uniform(1.1, 2)
        if not children:
            return None
        member, pid = children[int(place * len(children))]
        try:
            handle = os.pidfd_open(pid)  # its number may be another's by then
        except ProcessLookupError:
            return None
        signal.pidfd_send_signal(handle, signal.SIGSTOP)

        def thaw() -> None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)

        self._in(seconds, thaw)
        return f"{member.name}:{pid} for {seconds:.1f} s"

    def _wake(self) -> Any:
        """The other faults wait for it: who is killed meanwhile shows nothing."""
        stage = self._random.choice(STAGES)
        if not self._rig.store.running:
            return None
        return Ambush(self._rig, self._ids_of, self._until).lay(stage)

    def _freeze_store(self) -> Any:
        seconds = self._random.choice((0.1, 0.3, 0.7, 1.5, 3.0))
        if not self._rig.store.running:
            return None
        self._rig.store.freeze()
        self._in(seconds, self._rig.store.thaw)
        return f"for {seconds} s"

    def _member(self) -> Member:
        return self._random.choice(self._rig.crew)

    # -- links

    def _drop(self, via: str) -> Any:
        return self._rig.links.ask("drop", via=via, which=self._random.random()) or None

    def _drop_all(self) -> Any:
        return self._rig.links.ask("drop", which=-1) or None

    def _freeze(self, via: str, longest: float) -> Any:
        what: dict[str, Any] = {
            "via": via,
            "which": self._random.random(),
            "way": self._random.choice(("up", "down", "both")),
            "seconds": self._random.uniform(0.1, longest),
        }
        return what if self._rig.links.ask("freeze", **what) else None

    def _freeze_all(self) -> Any:
        seconds = self._random.uniform(0.1, 1.5 * LEASE)
        return self._rig.links.ask("freeze", which=-1, seconds=seconds) or None

    # -- the broker and the relay

    def _drop_tasks(self) -> Any:
        """From the end that is next; sometimes all of a lane."""
        queue = self._random.choice(self._rig.queues())
        count = self._random.choice((1, 1, 1, 2, 5, 1000))
        try:
            dropped: Any = self._rig.direct.rpop(queue, count)
        except (RedisError, OSError):
            return None
        if not dropped:
            return None
        self.tasks_dropped += len(dropped)
        return f"{len(dropped)} of {queue}"

    def _misbehave(self) -> Any:
        how = self._random.choices(list(MISBEHAVIOURS), _MISBEHAVIOUR_WEIGHTS)[0]
        self._rig.relay.ask("misbehave", how=how)
        return how


_WEIGHTS: dict[str, tuple[float, Callable[[Attack], Any]]] = {
    "kill a child": (40, Attack._kill_child),
    "kill a worker": (1.2, Attack._kill_worker),
    "kill a worker's main": (0.6, Attack._kill_main),
    "kill all workers": (0.3, Attack._kill_all),
    "kill the store": (1.2, Attack._kill_store),
    "stop a worker in good order": (0.4, Attack._stop_worker),
    "freeze a worker past its lease": (0.8, Attack._freeze_worker),
    "freeze a child past its lease": (3, Attack._freeze_child),
    "freeze the store": (1.0, Attack._freeze_store),
    "drop a link to the relay": (18, lambda attack: attack._drop("relay")),
    "drop a link of a worker to the store": (8, lambda attack: attack._drop("store")),
    "drop a link of the producer to the store": (3, lambda attack: attack._drop("producer")),
    "drop all links": (0.4, Attack._drop_all),
    "freeze a link to the relay": (6, lambda attack: attack._freeze("relay", 1.5 * LEASE)),
    "freeze a link of a worker to the store": (5, lambda attack: attack._freeze("store", 2 * LEASE)),
    "freeze a link of the producer to the store": (1.5, lambda attack: attack._freeze("producer", LEASE)),
    "freeze all links": (0.3, Attack._freeze_all),
    "drop tasks of the broker": (8, Attack._drop_tasks),
    "misbehave": (45, Attack._misbehave),
}
