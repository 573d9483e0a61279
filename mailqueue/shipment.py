"""Messages on their way to the ledger together: as many as go into one parcel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.errors import IdempotencyConflict
    from mailqueue.ledger.base import Submission
    from mailqueue.producer import Receipt

__all__ = ["Packed", "Shipment"]

#: What goes into one parcel: messages, octets of envelopes, octets of large parts put beside it; and for how many s
#: its first message waits for the others, which a slow iterator may take its time to yield.
_PARCEL_MESSAGES: Final = 100
_PARCEL_BYTES: Final = 256 * 1024
_PARCEL_BLOB_BYTES: Final = 4 * 1024 * 1024
_PARCEL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Packed:
    """One message, ready to be accepted."""

    message: Any
    submission: Submission
    receipt: Receipt
    blobs: Mapping[str, bytes]


@dataclass(slots=True)
class Shipment:
    """The load of one parcel. Times are monotonic, in s."""

    began: float  # when its first message came
    load: list[Packed] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    blob_size: int = 0

    def has_room(self, packed: Packed, now: float) -> bool:
        """Whether ``packed`` may travel with those that are there."""
        return (
            len(self.load) < _PARCEL_MESSAGES
            and self.size + len(packed.submission.envelope) <= _PARCEL_BYTES
            and self.blob_size <= _PARCEL_BLOB_BYTES
            and now - self.began <= _PARCEL_SECONDS
        )

    def add(self, packed: Packed) -> None:
        """Load ``packed``, with those of its large parts that are not there yet."""
        self.load.append(packed)
        self.size += len(packed.submission.envelope)
        for key, content in packed.blobs.items():
            if key not in self.blobs:
                self.blobs[key] = content
                self.blob_size += len(content)

    def around(self, conflict: IdempotencyConflict) -> tuple[Shipment, Shipment]:
        """Those before the message whose key conflicts, and those after it."""
        place = next(
            place
            for place, packed in enumerate(self.load)
            if packed.submission.key == conflict.key and packed.submission.id != conflict.message_id
        )
        parts = Shipment(self.began), Shipment(self.began)
        for part, load in zip(parts, (self.load[:place], self.load[place + 1 :]), strict=True):
            for packed in load:
                part.add(packed)
        return parts

    def receipts(self) -> list[Receipt]:
        """The receipts of its messages, in order."""
        return [packed.receipt for packed in self.load]
