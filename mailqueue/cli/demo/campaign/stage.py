"""Where the bulk demo plays: a store, a relay that keeps account, workers, and settings that point nowhere else."""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import redis

from mailqueue import conf
from mailqueue.cli.demo.runner import own_settings
from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.tally import Tally
from mailqueue.testing.worker import Worker

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["GRACE", "Stage", "processor_time"]

#: Minutes are right for real relays; a demo is watched. The lease bounds how soon a killed worker's mail is taken up.
_LEASE: Final = 4  # s
_HASTE: Final = {"MAILQUEUE_LEASE_SECONDS": str(_LEASE), "MAILQUEUE_TICK_SECONDS": "0.5"}
#: s that the full record of a message stays after its end.
GRACE: Final = 2.0 * _LEASE
_WORKERS: Final = 2


class Stage:
    """As a context manager: everything runs but the workers, and nothing is left on leaving.

    Args:
        limit: Messages a second that the whole fleet may send.
        refuse: A domain whose recipients the relay refuses.
    """

    def __init__(self, limit: float, refuse: str) -> None:
        self._limit = limit
        self._refuse = refuse
        self._stack = contextlib.ExitStack()
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(own_settings())
            self.relay = stack.enter_context(Tally(refuse=[self._refuse]))
            self.store = stack.enter_context(EmbeddedValkey())
            self.directory = self.store.directory  # which goes with it, also if we are killed
            self._client: Any = stack.enter_context(redis.Redis.from_url(self.store.url))
            self._settings = {
                "MAILQUEUE_BROKER_URL": self.store.url,
                "EMAIL_HOST": self.relay.host,
                "EMAIL_PORT": str(self.relay.port),
                "MAILQUEUE_UNSUBSCRIBE_URL": "https://shop.example/leave",
                "MAILQUEUE_UNSUBSCRIBE_KEYS": json.dumps([secrets.token_hex(32)]),
                "MAILQUEUE_RELAYS": json.dumps({"default": {"rates": f"{self._limit:g}/s"}}),
            }
            own = ("MAILQUEUE_BROKER_URL", "MAILQUEUE_UNSUBSCRIBE_URL", "MAILQUEUE_UNSUBSCRIBE_KEYS")
            conf.configure(**{name: self._settings[name] for name in own})
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_workers(self) -> None:
        """Start the fleet."""
        for _ in range(_WORKERS):
            options = ("--without-gossip", "--without-mingle")
            worker = Worker({**self._settings, **_HASTE}, concurrency=1, options=options)
            self.workers.append(self._stack.enter_context(worker))

    def octets(self) -> int:
        """What the store holds, without the buffers of connections and of its file, which come and go."""
        told = self._client.info("memory")
        return int(told["used_memory"] - told["mem_clients_normal"] - told["mem_aof_buffer"])

    def octets_of(self, pattern: str) -> int:
        """What the keys that match ``pattern`` take, as MEMORY USAGE tells it."""
        with self._client.pipeline(transaction=False) as pipe:
            for name in self._client.scan_iter(pattern, count=1000):
                pipe.memory_usage(name, samples=0)
            return sum(octets or 0 for octets in pipe.execute())


def processor_time() -> tuple[int, int] | None:
    """What this machine's processors have spent so far, idle and in all (proc(5)); None where there is no /proc."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    spent = [int(word) for word in words]
    return spent[3] + spent[4], sum(spent)  # idle, and idle while the disk works
