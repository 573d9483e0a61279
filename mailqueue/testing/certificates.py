"""A certificate authority of the moment, and the certificates of servers good and bad. Needs ``trustme``."""

from __future__ import annotations

import datetime as dt
import ssl

import trustme

__all__ = ["Authority"]

_ANTIQUITY = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class Authority:
    """A CA that nobody trusts but those who use ``client()``."""

    def __init__(self) -> None:
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

    @staticmethod
    def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context
