"""For tests, the demo and development: queues in memory, servers good and bad, a store and a worker, all our own.

Each is a context manager; ``plugin`` has them as pytest's fixtures. What is named here is loaded when it is first used:
the store and the inbox want ``mailqueue[embedded]``, certificates and the fixtures ``mailqueue[testing]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mailqueue.testing.inbox import Inbox
    from mailqueue.testing.memory import MemoryQueue
    from mailqueue.testing.rest import settled
    from mailqueue.testing.script import drip, drop, endless, hang, raw, reply
    from mailqueue.testing.scripted import ScriptedServer
    from mailqueue.testing.settings import outbox, queued_at, sent_to
    from mailqueue.testing.store import EmbeddedValkey
    from mailqueue.testing.worker import Worker

__all__ = [
    "EmbeddedValkey",
    "Inbox",
    "MemoryQueue",
    "ScriptedServer",
    "Worker",
    "drip",
    "drop",
    "endless",
    "hang",
    "outbox",
    "queued_at",
    "raw",
    "reply",
    "sent_to",
    "settled",
]

_LAZY: Final = {
    "EmbeddedValkey": "store",
    "Inbox": "inbox",
    "MemoryQueue": "memory",
    "ScriptedServer": "scripted",
    "Worker": "worker",
    **dict.fromkeys(("drip", "drop", "endless", "hang", "raw", "reply"), "script"),
    **dict.fromkeys(("outbox", "queued_at", "sent_to"), "settings"),
    "settled": "rest",
}


if not TYPE_CHECKING:  # a checker would take every misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
