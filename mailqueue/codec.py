"""Envelopes and parcels as bytes and JSON: what the ledger stores and what a task carries. Never pickle.

An encoded envelope is JSON, or a zlib stream of it, told apart by the first byte; the JSON says its version. A parcel
keeps ids and numbers beside the encoded envelopes, so that they can be claimed before anything is decoded.
"""

from __future__ import annotations

import contextlib
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from mailqueue.bulkenvelope import BULK_VERSION, AnyEnvelope
from mailqueue.envelope import VERSION
from mailqueue.errors import InvalidMessage, MessageTooLarge, UnsupportedVersion, WireError

isal_zlib: Any = None
with contextlib.suppress(ImportError):
    from isal import isal_zlib  # of the extra `fast`: the same streams in half the time

__all__ = ["MAX_ENVELOPE_BYTES", "Parcel", "decode", "encode"]

#: Octets of JSON that are read at most: parts over 32 KB are not in it, headers have their limit, attributes have none.
MAX_ENVELOPE_BYTES: Final = 8 * 1024 * 1024
_COMPRESS_ABOVE: Final = 1024
#: Level, method, window and memory of zlib. Setting up its default window takes longer than compressing mail of 2 KB
#: in it; with 8 KB it is a fifth, for 1 % more octets (measured).
_SMALL: Final = (1, zlib.DEFLATED, 13, 6)
_SMALL_BYTES: Final = 16 * 1024
_PARCEL_VERSION: Final = 1

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[AnyEnvelope]] = msgspec.json.Decoder(AnyEnvelope)
_VERSIONS: Final = (VERSION, BULK_VERSION)


class _Versioned(msgspec.Struct):
    v: Any = None


_version_decoder: Final = msgspec.json.Decoder(_Versioned)


def encode(envelope: AnyEnvelope) -> bytes:
    """Return ``envelope`` as bytes.

    Raises:
        InvalidMessage: for text that has no UTF-8 form (lone surrogates).
        MessageTooLarge: for attributes, recipients and small parts of more than MAX_ENVELOPE_BYTES altogether.
    """
    try:
        data = _encoder.encode(envelope)
    except UnicodeEncodeError as trouble:
        raise InvalidMessage(f"the message has text that cannot be encoded: {trouble.reason}") from trouble
    if len(data) > MAX_ENVELOPE_BYTES:
        raise MessageTooLarge(
            f"the message has {len(data)} octets beside its large parts, and {MAX_ENVELOPE_BYTES} is the limit",
            size=len(data),
            limit=MAX_ENVELOPE_BYTES,
        )
    return _compress(data) if len(data) > _COMPRESS_ABOVE else data


def decode(data: bytes) -> AnyEnvelope:
    """Return the envelope that ``data`` encodes, of whichever version.

    Raises:
        UnsupportedVersion: for an envelope of a version that this release does not know.
        WireError: for everything else that is no envelope.
    """
    text = data if data[:1] == b"{" else _decompress(data)
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        _check_version(text)
        raise WireError(f"no envelope: {trouble}") from trouble


def _compress(data: bytes) -> bytes:
    if isal_zlib is not None:
        compressed: bytes = isal_zlib.compress(data, 1)
        return compressed
    if len(data) > _SMALL_BYTES:
        return zlib.compress(data, level=1)
    stream = zlib.compressobj(*_SMALL)
    return stream.compress(data) + stream.flush()


def _decompress(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, MAX_ENVELOPE_BYTES + 1)
    except zlib.error as trouble:
        raise WireError(f"no envelope: {trouble}") from trouble
    if not stream.eof or len(text) > MAX_ENVELOPE_BYTES:
        raise WireError("no envelope: cut off, or too large")
    return text


def _check_version(text: bytes) -> None:
    try:
        version = _version_decoder.decode(text).v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if version not in _VERSIONS:
        raise UnsupportedVersion(f"an envelope of version {version!r}, and this release knows 1 and 2", version=version)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one task carries: encoded envelopes by their ids, all of one lane. Without any it is a barrier.

    ``number`` is the task's number in its lane; ``alone`` asks for its one message to be sent in no company.
    """

    lane: str
    number: int
    items: tuple[tuple[str, bytes], ...] = ()
    alone: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Return the parcel in JSON's types: the one argument of the task."""
        wire: dict[str, Any] = {
            "v": _PARCEL_VERSION,
            "lane": self.lane,
            "number": self.number,
            "items": [[id_, _to_text(data)] for id_, data in self.items],
        }
        if self.alone:
            wire["alone"] = True
        return wire

    @classmethod
    def from_wire(cls, wire: Any) -> Parcel:
        """Return the parcel of a task's argument; raises UnsupportedVersion, and WireError for what is no parcel.

        Its envelopes stay encoded: one that is none does not keep the others from being read.
        """
        if isinstance(wire, dict) and (version := wire.get("v", _PARCEL_VERSION)) != _PARCEL_VERSION:
            raise UnsupportedVersion(f"a parcel of version {version!r}, and this release knows 1", version=version)
        try:
            parcel = msgspec.convert(wire, _WireParcel)
        except (msgspec.ValidationError, RecursionError) as trouble:
            raise WireError(f"no parcel: {trouble}") from trouble
        return cls._of(parcel)

    @classmethod
    def from_body(cls, body: str | bytes) -> Parcel:
        """Return the parcel in the body of a task as Celery's message protocol 2 has it; raises as ``from_wire`` does."""
        try:
            (parcel,), _kwargs, _embed = _body_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
            try:
                (wire,), _kwargs, _embed = msgspec.json.decode(body)
            except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
                raise WireError(f"no parcel: {trouble}") from trouble
            return cls.from_wire(wire)  # says what is wrong with it
        if parcel.v != _PARCEL_VERSION:
            raise UnsupportedVersion(f"a parcel of version {parcel.v!r}, and this release knows 1", version=parcel.v)
        return cls._of(parcel)

    @classmethod
    def _of(cls, parcel: _WireParcel) -> Parcel:
        return cls(
            parcel.lane, parcel.number, tuple((id_, _to_bytes(text)) for id_, text in parcel.items), parcel.alone
        )


class _WireParcel(msgspec.Struct):
    v: int
    lane: Literal["urgent", "default", "bulk"]
    number: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]  # what a store's counter and JSON's readers hold exactly
    items: list[tuple[Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}\Z")], str]]
    alone: bool = False


_body_decoder: Final = msgspec.json.Decoder(tuple[tuple[_WireParcel], dict[str, Any], Any])


def _to_text(data: bytes) -> str:
    return data.decode() if data[:1] == b"{" else b64encode(data).decode("ascii")


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode() if text[:1] == "{" else b64decode(text, validate=True)
    except ValueError:
        return b""  # which decode() refuses, when this one's turn comes
