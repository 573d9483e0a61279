"""The name of this host as mail shows it: in Message-IDs and in the greeting of an SMTP client."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

__all__ = ["DNS_NAME", "CachedDnsName", "punycode"]

#: s; how long the first mail of a process waits for the resolver. It has no timeout of its own.
PATIENCE = 1.0
THREAD: Final = "mailqueue-host-name"


def punycode(domain: str) -> str:
    """``domain`` in its ASCII form (IDNA 2003, which is what the ``idna`` codec knows).

    What is ASCII already comes back as it was: a domain that its owner registered under IDNA 2008 stays the same.
    Raises UnicodeError, a ValueError, for a label that is empty or longer than 63 octets.
    """
    return domain.encode("idna").decode("ascii")


class CachedDnsName:
    """This host's fully qualified name, looked up once, when it is first needed.

    The look-up can take many seconds. After one it goes on in the background, and until it ends the name is what the
    system says without asking anybody.
    """

    _fqdn: str

    def __str__(self) -> str:
        return self.get_fqdn()

    def get_fqdn(self) -> str:
        """The host's name in ASCII; raises UnicodeError if it has no such form."""
        if not hasattr(self, "_fqdn"):
            self._look_up()
        return self._fqdn

    def _look_up(self) -> None:
        failures: list[UnicodeError] = []
        done = threading.Event()

        def ask() -> None:
            try:
                self._fqdn = punycode(socket.getfqdn())
            except UnicodeError as failure:
                failures.append(failure)
            finally:
                done.set()

        threading.Thread(target=ask, name=THREAD, daemon=True).start()
        if done.wait(PATIENCE):
            if failures:
                raise failures[0]
        else:
            provisional = "localhost"
            with contextlib.suppress(UnicodeError):
                provisional = punycode(socket.gethostname())
            self.__dict__.setdefault("_fqdn", provisional)  # unless the answer has just come


DNS_NAME: Final = CachedDnsName()
