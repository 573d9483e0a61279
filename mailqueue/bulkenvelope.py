"""The envelope of a campaign's message, version 2 of what travels: for whom it is and with which data, no more.

What all of the campaign's messages share - template, attachments, options - stays in the ledger, and a worker renders.
What the ledger and the workers ask of an envelope is as in version 1 (``mailqueue.envelope``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from mailqueue.envelope import Envelope, OnUnknown, date_at

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BULK_VERSION", "AnyEnvelope", "BulkEnvelope"]

BULK_VERSION: Final = 2


class BulkEnvelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=BULK_VERSION):
    """One message of a campaign.

    ``created`` also is its Date, and ``host`` ends its Message-ID, which follows from the id: whoever is fed for a
    second time gets the same one.
    """

    id: str  # made of the campaign's and the recipient's digest
    created: float  # s since the epoch, by the clock of whoever fed it
    campaign: str
    address: str
    data: dict[str, Any] = {}
    host: str = "localhost"
    lane: str = "bulk"
    relay: str = ""  # alias of the relay that is to deliver; "" is the default delivery backend
    on_unknown: OnUnknown = "hold"
    expires_at: float = 0.0  # s since the epoch; for a message that is accepted again from its task

    def recipients(self) -> list[str]:
        """The one address that it goes to."""
        return [self.address]

    @property
    def labels(self) -> dict[str, Any]:
        """What ``status()`` shows as the caller's own."""
        return {"campaign": self.campaign}

    @property
    def message_id(self) -> str:
        """The Message-ID header."""
        return f"<{self.id}@{self.host}>"

    @property
    def date(self) -> str:
        """The Date header."""
        return date_at(self.created)

    def blobs(self) -> tuple[str, ...]:
        """The large parts of a campaign's messages are the campaign's."""
        return ()

    def sizes(self) -> Mapping[str, int]:
        """None, for the same reason."""
        return {}


#: What may be in a task.
AnyEnvelope: TypeAlias = Envelope | BulkEnvelope
