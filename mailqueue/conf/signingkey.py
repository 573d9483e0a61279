"""The private key of a DKIM signature: read from its file, and ready to sign (RFC 6376, RFC 8463).

``cryptography`` signs with it in a tenth of the time that dkimpy takes, whose RSA is pure Python; without it that does.
Both are imported when there is a key to be loaded, and by nobody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.conf.consent import Signing

__all__ = ["SigningKey", "load_key"]

_RSA_BITS: Final = 1024  # RFC 8301 section 3.2: fewer are not accepted
_SEED: Final = 32  # octets of an ed25519 key
_PEM: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class SigningKey:
    """``sign`` makes the signature of what is to be signed by ``algorithm`` (the tag a=)."""

    algorithm: str
    sign: Callable[[bytes], bytes]


def load_key(signing: Signing) -> SigningKey:
    """The key of ``signing``: RSA in PEM (PKCS #1 or #8), or ed25519 in PEM (PKCS #8) or as the base64 of its octets.

    Raises ValueError with a sentence that names the file, and shows nothing of the key.
    """
    where = f"the key file {signing.key_file!r}" if signing.key_file else "the key"
    try:
        octets = Path(signing.key_file).read_bytes() if signing.key_file else signing.key.encode()
    except OSError as error:
        raise ValueError(f"{where} cannot be read ({error.strerror}); correct the path or its permissions") from None
    if importlib.util.find_spec("dkim") is None:
        raise ValueError(f"{where} is to sign with dkimpy, which is not installed; pip install 'mailqueue[bulk]'")
    octets = octets.strip().replace(b"\\n", b"\n").replace(b"\r\n", b"\n")  # an environment may have it on one line
    try:
        return _load(octets)
    except ModuleNotFoundError as error:
        raise ValueError(f"{where} needs {error.name}; pip install 'mailqueue[bulk]'") from None
    except (ValueError, TypeError, LookupError):
        raise ValueError(
            f"{where} is no private key of RSA ({_RSA_BITS} bits or more) or ed25519, in PEM and without a password"
        ) from None


def _load(octets: bytes) -> SigningKey:
    try:
        import cryptography  # noqa: F401, PLC0415 - see the module
    except ModuleNotFoundError:
        return _with_dkimpy(octets)
    return _with_cryptography(octets)


def _with_cryptography(octets: bytes) -> SigningKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa  # noqa: PLC0415

    if not octets.startswith(_PEM):
        key: Any = ed25519.Ed25519PrivateKey.from_private_bytes(_seed(octets))
    else:
        try:
            key = serialization.load_pem_private_key(octets, None)
        except UnsupportedAlgorithm:
            raise ValueError("unsupported") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return SigningKey("ed25519-sha256", lambda signed: key.sign(hashlib.sha256(signed).digest()))
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _RSA_BITS:
        raise ValueError("no such key")
    how, hashed = padding.PKCS1v15(), hashes.SHA256()
    return SigningKey("rsa-sha256", lambda signed: key.sign(signed, how, hashed))


def _seed(octets: bytes) -> bytes:
    """The octets of an ed25519 key, as ``dknewkey`` writes it."""
    try:
        seed = base64.b64decode(octets, validate=True)
    except binascii.Error:
        seed = b""
    if len(seed) != _SEED:
        raise ValueError("no such key")
    return seed


def _with_dkimpy(octets: bytes) -> SigningKey:
    from dkim import crypto  # noqa: PLC0415 - see the module

    if not octets.startswith(_PEM):
        _seed(octets)
        raise ModuleNotFoundError(name="cryptography")
    try:
        key = crypto.parse_pem_private_key(octets + b"\n")
    except crypto.UnparsableKeyError as error:
        raise ValueError(str(error)) from None
    if key["modulus"].bit_length() < _RSA_BITS:
        raise ValueError("no such key")
    return SigningKey("rsa-sha256", lambda signed: bytes(crypto.RSASSA_PKCS1_v1_5_sign(hashlib.sha256(signed), key)))
