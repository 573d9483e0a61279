"""Recipients on their way into a campaign: each is tried with the template first, and then stored, 200 at a time.

Reads what is given as it comes, and never holds it as a whole.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from mailqueue.bulk.address import digest
from mailqueue.bulk.chunks import CHUNK_RECIPIENTS, ChunkBuilder, encode_recipient
from mailqueue.errors import LedgerUnavailable, RecipientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mailqueue.bulk.recipients import Recipient
    from mailqueue.ledger.campaigns import Campaigns

__all__ = ["Loaded", "Loader", "patiently"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: s that a store which does not answer is waited for, growing, before loading is given up: what is in stays in.
_WAITS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Mistakes that are kept; there may be as many as recipients.
_MISTAKES: Final = 1000


class Check(Protocol):
    """Raises InvalidMessage for a recipient whom the template cannot be sent to."""

    def __call__(self, address: str, data: Mapping[str, Any]) -> object: ...


@dataclass(slots=True)
class Loaded:
    """How far loading has come. The numbers are of recipients.

    Those that were in already when an interrupted call was repeated count as ``duplicates``, too.
    """

    read: int = 0
    added: int = 0
    duplicates: int = 0
    skipped: int = 0  # for mistakes
    mistakes: list[RecipientError] = field(default_factory=list)  # the first 1,000


class Loader:
    """Loads recipients into one campaign.

    Args:
        ledger: Has the campaign.
        campaign: Its id; it is loading.
        check: Tries a recipient.
        present: Chunks that it has already; the last of them, given again, is taken for the same.
        skip: Leave those out that cannot be used, instead of stopping for them.
        progress: Called with how far it has come, after each chunk.
        file: What the recipients are read from, for errors.
    """

    def __init__(
        self,
        ledger: Campaigns,
        campaign: str,
        check: Check,
        *,
        present: int = 0,
        skip: bool = False,
        progress: Callable[[Loaded], object] | None = None,
        file: str = "",
    ) -> None:
        self._ledger = ledger
        self._campaign = campaign
        self._check = check
        self._present = present
        self._skip = skip
        self._progress = progress
        self._file = file
        self.loaded = Loaded()
        self.first: Recipient | None = None  # of those that can be used

    def dry_run(self, recipients: Iterable[Recipient]) -> None:
        """Try all of ``recipients`` and store none; raises RecipientError, with all mistakes in ``errors``."""
        for recipient in recipients:
            if self._try(recipient) is not None:
                self.first = self.first or recipient
            if self._progress is not None and self.loaded.read % CHUNK_RECIPIENTS == 0:
                self._progress(self.loaded)
        self._judge()

    def load(self, recipients: Iterable[Recipient], *, tried: bool = False) -> None:
        """Try each of ``recipients``, unless all were ``tried`` before, and store it.

        Raises:
            RecipientError: for those that cannot be used, with all mistakes in ``errors``. The others are stored.
            LedgerUnavailable: The store was away for longer than is waited for.
        """
        chunk = ChunkBuilder()
        for recipient in recipients:
            if tried:
                self.loaded.read += 1
            encoded = _encode(recipient) if tried else self._try(recipient)
            if encoded is None or (
                self.loaded.mistakes and not self._skip
            ):  # nothing is sent: the others are only tried
                continue
            self.first = self.first or recipient
            if not chunk.has_room(encoded):
                self._add(chunk)
                chunk = ChunkBuilder()
            key = digest(recipient.address)
            if key in chunk:
                self.loaded.duplicates += 1
            else:
                chunk.add(key, encoded)
        self._judge()
        self._add(chunk)

    def mistaken(self, error: RecipientError) -> None:
        """A recipient that cannot even be read is left out."""
        self.loaded.read += 1
        self._note(error)

    def _try(self, recipient: Recipient) -> bytes | None:
        """The recipient as it is stored; None if it cannot be used."""
        self.loaded.read += 1
        try:
            encoded = _encode(recipient)
            self._check(recipient.address, recipient.data)
        except ValueError as trouble:  # InvalidMessage, and what the mail API says of addresses and header fields
            error = trouble if isinstance(trouble, RecipientError) else None
            if error is None or not error.row:
                error = RecipientError(str(trouble), row=recipient.row, file=self._file)
            self._note(error)
            return None
        return encoded

    def _note(self, error: RecipientError) -> None:
        self.loaded.skipped += 1
        if len(self.loaded.mistakes) < _MISTAKES:
            self.loaded.mistakes.append(error)

    def _judge(self) -> None:
        """All were tried: stop for those that cannot be used, unless they are to be left out."""
        mistakes = self.loaded.mistakes
        if not mistakes or self._skip:
            return
        first, count = mistakes[0], self.loaded.skipped
        more = "" if count == 1 else f" (and {count - 1} more: all are in `errors`)"
        error = RecipientError(f"{first}{more}; nothing was sent", errors=mistakes)
        error.row, error.column, error.file = first.row, first.column, first.file
        raise error from first

    def _add(self, chunk: ChunkBuilder) -> None:
        while len(chunk):
            answer = patiently(self._ledger.add, self._campaign, chunk.digests, chunk.encode())
            if not answer.known:
                if answer.number > self._present:
                    self.loaded.added += len(chunk)
                else:
                    self.loaded.duplicates += len(chunk)
                break
            chunk.drop(answer.known)
            self.loaded.duplicates += len(answer.known)
        if self._progress is not None:
            self._progress(self.loaded)


def patiently(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """The answer of a call to the ledger, repeated for a while if need be: a store may be away for a moment."""
    for pause in _WAITS:
        try:
            return call(*args, **kwargs)
        except LedgerUnavailable as trouble:
            logger.warning("action=loading_waits seconds=%.1f reason=%s", pause, trouble)
            time.sleep(pause)
    return call(*args, **kwargs)


def _encode(recipient: Recipient) -> bytes:
    return encode_recipient(recipient.address, recipient.data)
