"""What two messages under one idempotency key are compared by: a digest of their content.

The content is what recipients get, and who they are. It is not when and how the message was queued, nor what differs
between two builds of one message: Date, Message-ID, and the boundaries of MIME parts.
"""

from __future__ import annotations

import email
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mailqueue.blobs import Luggage, restore
from mailqueue.errors import InvalidMessage
from mailqueue.mimetree import pack_mime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.envelope import Envelope

__all__ = ["check_key", "digest"]

#: Characters of an idempotency key: room for a UUID and a name beside it, not for a message.
_KEY: Final = 255
_ASIDE: Final = ("v", "id", "created", "lane", "relay", "on_unknown", "labels", "expires_at")
_PASSING: Final = frozenset({"date", "message-id"})
_BOUNDARY: Final = re.compile(r';\s*boundary=("[^"]*"|[^;\s]*)', re.IGNORECASE)

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def digest(envelope: Envelope, blobs: Mapping[str, bytes]) -> str:
    """The digest, in hex, of what ``envelope`` says; ``blobs`` are its large parts, of which a rendered message is one."""
    content = {name: value for name, value in msgspec.to_builtins(envelope).items() if name not in _ASIDE}
    content["headers"] = {name: value for name, value in envelope.headers.items() if name.lower() not in _PASSING}
    if envelope.raw is not None:
        octets = restore(envelope.raw, blobs)
        parsed = email.message_from_bytes(octets if isinstance(octets, bytes) else octets.encode())
        content["raw"] = msgspec.to_builtins(pack_mime(parsed, Luggage()))
    return hashlib.sha256(_encode(_without_passing(content))).hexdigest()


def check_key(key: Any) -> str:
    """Return ``key`` if it can be an idempotency key; raises InvalidMessage, and TypeError for what is no text."""
    if not isinstance(key, str):
        raise TypeError(f"an idempotency_key is a str, not {type(key).__name__}")
    if not key or len(key) > _KEY or not key.isprintable():
        raise InvalidMessage(f"an idempotency_key is 1 to {_KEY} printable characters: {key[:60]!r}")
    return key


def _without_passing(value: Any) -> Any:
    """``value`` without the headers of MIME objects that differ from build to build."""
    if isinstance(value, dict):
        found = {name: _without_passing(inner) for name, inner in value.items()}
        if value.get("is") == "mime":
            found["headers"] = [
                [name, _BOUNDARY.sub("", text), *form]
                for name, text, *form in value.get("headers", ())
                if name.lower() not in _PASSING
            ]
        return found
    if isinstance(value, list | tuple):
        return [_without_passing(inner) for inner in value]
    return value
