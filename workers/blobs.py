"""The large parts that envelopes refer to, fetched once per process as long as they fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.ledger.base import Ledger

__all__ = ["BlobCache"]

CACHE_BYTES = 64 * 1024 * 1024  # two messages of the largest size, and what many newsletters share


class BlobCache:
    """Least recently used blobs by content hash. Safe across threads."""

    def __init__(self, ledger: Ledger, limit: int = CACHE_BYTES) -> None:
        self._ledger = ledger
        self._limit = limit
        self._size = 0
        self._lock = threading.Lock()
        self._blobs: OrderedDict[str, bytes] = OrderedDict()

    def get(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """The blobs of ``hashes``; one that the ledger does not have is left out. Raises LedgerUnavailable."""
        found: dict[str, bytes] = {}
        with self._lock:
            for key in hashes:
                blob = self._blobs.get(key)
                if blob is not None:
                    self._blobs.move_to_end(key)
                    found[key] = blob
        lacking = [key for key in dict.fromkeys(hashes) if key not in found]
        if lacking:
            fetched = self._ledger.get_blobs(lacking)
            found.update(fetched)
            self._keep(fetched)
        return found

    def _keep(self, blobs: dict[str, bytes]) -> None:
        with self._lock:
            for key, blob in blobs.items():
                if len(blob) <= self._limit and key not in self._blobs:
                    self._blobs[key] = blob
                    self._size += len(blob)
            while self._size > self._limit:
                _, dropped = self._blobs.popitem(last=False)
                self._size -= len(dropped)
