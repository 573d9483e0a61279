"""The name of this host as mail shows it: in Message-IDs and in the greeting of an SMTP client."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["DNS_NAME", "CachedDnsName", "punycode"]


def punycode(domain: str) -> str:
    """``domain`` in its ASCII form (IDNA 2003, which is what the ``idna`` codec knows).

    What is ASCII already comes back as it was: a domain that its owner registered under IDNA 2008 stays the same.
    Raises UnicodeError, a ValueError, for a label that is empty or longer than 63 octets.
    """
    return domain.encode("idna").decode("ascii")


class CachedDnsName:
    """This host's fully qualified name, looked up once, when it is first needed: the look-up can take seconds."""

    _fqdn: str

    def __str__(self) -> str:
        return self.get_fqdn()

    def get_fqdn(self) -> str:
        """The host's name in ASCII."""
        if not hasattr(self, "_fqdn"):
            self._fqdn = punycode(socket.getfqdn())
        return self._fqdn


DNS_NAME: Final = CachedDnsName()
