"""One rig: a store, a relay, the links between them and the workers, all of them ours to break and none of them shared."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailqueue import conf
from mailqueue.lanes import LANES, queue_name
from mailqueue.launch import worker_command
from mailqueue.ledger.open import open_ledger
from mailqueue.testing.child import Child, children_of
from mailqueue.testing.environment import clean_environment
from mailqueue.testing.store import EmbeddedValkey
from tests.crashproof.history import history_file
from tests.crashproof.pace import LEASE, SETTINGS
from tests.crashproof.rollback import Rollback
from tests.crashproof.sabotage import VARIABLE
from tests.crashproof.servant import ROOT, Servant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mailqueue.ledger.base import Ledger

__all__ = ["LAYOUTS", "Member", "Rig"]

#: Workers of a rig, each with its pool and the number of its processes or threads.
LAYOUTS: dict[str, tuple[tuple[str, int], ...]] = {
    "2 x prefork 2": (("prefork", 2), ("prefork", 2)),
    "prefork 2, threads 3": (("prefork", 2), ("threads", 3)),
    "prefork 3, solo": (("prefork", 3), ("solo", 1)),
    "2 x threads 3": (("threads", 3), ("threads", 3)),
    "3 x solo": (("solo", 1), ("solo", 1), ("solo", 1)),
}


@dataclass(slots=True, eq=False)
class Member:
    """One worker: its main process and what that has forked, in one process group."""

    name: str
    pool: str
    child: Child
    frozen: bool = False

    @property
    def running(self) -> bool:
        """Whether its main process runs, frozen or not; ends what that has left behind if not."""
        return self.child.running

    def start(self) -> None:
        """Start it, unless it runs; it is not waited for."""
        if not self.child.running:
            self.child.start()
            self.frozen = False

    def forks(self) -> list[int]:
        """Process ids of its children that send."""
        return children_of(self.child.pid) if self.pool == "prefork" and self.child.running else []

    def signal(self, number: int) -> None:
        """Send all of its processes a signal."""
        with contextlib.suppress(ProcessLookupError):
            if self.child.running:
                os.killpg(self.child.pid, number)


class Rig:
    """Everything under attack, as a context manager; its files are in ``directory`` and stay there.

    Args:
        directory: An empty one.
        seed: Of the relay's delays.
        layout: One of LAYOUTS.
        rollback: The store does not sync each write, and loses its last second with every kill.
        timeout: EMAIL_TIMEOUT of the workers, in s.
        spool: The producer has a spool, which the workers replay.
        sabotage: One of SABOTAGES, or "".
        delay: What the relay takes over a message on average, in s.
        offers: Extensions of the relay, with spaces between.
        lag: s that each of its answers is on its way while it makes others.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: str,
        layout: str,
        rollback: bool = False,
        timeout: float = 1.5,
        spool: bool = False,
        sabotage: str = "",
        delay: float = 0.03,
        offers: str = "",
        lag: float = 0.0,
    ) -> None:
        self.directory = directory
        self.record = directory / "relay.jsonl"
        self.timeout = timeout
        self._seed, self._layout, self._sabotage = seed, layout, sabotage
        self._relay = (str(delay), offers, str(lag))
        self.store = EmbeddedValkey(
            directory / "store",
            appendfsync="everysec" if rollback else "always",
            # One append-only file, so that it is the whole history, and can be cut.
            settings={"auto-aof-rewrite-percentage": "0"},
        )
        self.rollback = Rollback(directory / "store") if rollback else None
        self.spool = {"MAILQUEUE_SPOOL": str(directory / "spool.sqlite")} if spool else {}
        self.crew: list[Member] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.store.start()
            stack.callback(self.store.close)
            self.relay = Servant("relay", str(self.record), self._seed, *self._relay, log=self.directory / "relay.log")
            stack.callback(self.relay.close)
            self.links = Servant(
                "links",
                f"store={self.store.port}",
                f"relay={self.relay.hello['port']}",
                f"producer={self.store.port}",
                log=self.directory / "links.log",
            )
            stack.callback(self.links.close)
            self.direct = Redis(
                port=self.store.port,
                socket_timeout=0.3,  # the attack goes on when the store is away
                socket_connect_timeout=0.3,
                retry=Retry(NoBackoff(), 0),
            )
            stack.callback(self.direct.close)
            if self.rollback is not None:
                self.rollback.start()
                stack.callback(self.rollback.stop)
            self._hire(LAYOUTS[self._layout], stack)
            conf.configure(
                MAILQUEUE_BROKER_URL=f"redis://127.0.0.1:{self.links.hello['producer']}/0",
                MAILQUEUE_LEASE_SECONDS=LEASE,
                **self.spool,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ledger(self) -> Ledger:
        """The ledger, past the links: for the audit."""
        return open_ledger(self.store.url, lease_seconds=LEASE, timeout=5.0)

    def children(self) -> list[tuple[Member, int]]:
        """All children that send, with their workers."""
        return [(member, pid) for member in self.crew for pid in member.forks()]

    def senders(self) -> list[int]:
        """Process ids of all that send: children, and workers that have none."""
        alone = [member.child.pid for member in self.crew if member.pool != "prefork" and member.running]
        return [*(pid for _member, pid in self.children()), *alone]

    def queues(self) -> list[str]:
        """The names of the lanes' queues in the broker."""
        return [queue_name(lane) for lane in LANES]

    def kill_store(self) -> None:
        """End the store; with ``rollback`` its last second is lost as well."""
        self.store.kill()
        if self.rollback is not None:
            self.rollback.cut()

    def history(self) -> bytes:
        """The append-only file: all that was written to the store, but for what it was made to forget."""
        return history_file(self.directory / "store").read_bytes()

    def heal(self) -> None:
        """Everything runs and behaves."""
        if not self.store.running:
            self.store.start()
        self.store.thaw()
        self.links.ask("thaw")
        self.relay.ask("behave")
        for member in self.crew:
            member.signal(signal.SIGCONT)
            member.start()

    def _hire(self, layout: Sequence[tuple[str, int]], stack: contextlib.ExitStack) -> None:
        environment = clean_environment(
            **SETTINGS,
            **self.spool,
            MAILQUEUE_BROKER_URL=f"redis://127.0.0.1:{self.links.hello['store']}/0",
            EMAIL_HOST="127.0.0.1",
            EMAIL_PORT=str(self.links.hello["relay"]),
            EMAIL_TIMEOUT=str(self.timeout),
            PYTHONUNBUFFERED="1",
            PYTHONPATH=str(ROOT),
            TMPDIR=str(self.directory),
            **({VARIABLE: self._sabotage} if self._sabotage else {}),
        )
        for number, (pool, concurrency) in enumerate(layout, 1):
            name = f"worker-{number}"
            command = worker_command(
                pool=pool,
                concurrency=concurrency,
                application="tests.crashproof.app",
                name=f"{name}-{os.getpid()}",
                options=("--without-heartbeat",),
            )
            child = Child(command, log=self.directory / f"{name}.log", env=environment, cwd=self.directory)
            stack.callback(child.close)
            self.crew.append(Member(name, pool, child))
            child.start()
