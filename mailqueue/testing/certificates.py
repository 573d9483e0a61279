"""A certificate authority of the moment, and the certificates of servers good and bad. Needs ``mailqueue[testing]``."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

__all__ = ["Authority", "CertificatesUnavailable"]

_ANTIQUITY = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class CertificatesUnavailable(RuntimeError):  # noqa: N818 - named like StoreUnavailable and InboxUnavailable
    """Trustme is not installed."""


class Authority:
    """A CA that nobody trusts but those who use ``client()``; raises CertificatesUnavailable without ``trustme``."""

    def __init__(self) -> None:
        try:
            import trustme  # noqa: PLC0415 - an extra that only this class needs
        except ImportError:
            raise CertificatesUnavailable("trustme is not installed: pip install 'mailqueue[testing]'") from None
        self._ca = trustme.CA()

    def client(self) -> ssl.SSLContext:
        """The context of a client that trusts this CA, and it alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    def valid(self, host: str = "127.0.0.1") -> ssl.SSLContext:
        """The context of a server with a certificate for ``host``."""
        return self._server(self._ca.issue_cert(host))

    def expired(self, host: str = "127.0.0.1") -> ssl.SSLContext:
        """The context of a server whose certificate for ``host`` was good for a day, long ago."""
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        return self._server(self._ca.issue_cert(host, not_before=_ANTIQUITY, not_after=yesterday))

    def trust(self, context: ssl.SSLContext) -> None:
        """Make ``context`` trust this CA, too."""
        self._ca.configure_trust(context)

    def demand(self, context: ssl.SSLContext) -> None:
        """Make the server of ``context`` demand a certificate of this CA from its clients."""
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    def root(self, directory: Path) -> Path:
        """Write the CA's own certificate, in PEM; its path. SSL_CERT_FILE makes OpenSSL trust it by default."""
        path = directory / "root.pem"
        path.write_bytes(self._ca.cert_pem.bytes())
        return path

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write a certificate for ``name`` and its private key, in PEM; their paths."""
        issued = self._ca.issue_cert(name)
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    @staticmethod
    def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context
