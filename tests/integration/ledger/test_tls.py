"""The ledger through TLS. The embedded store speaks none, so a relay of bytes in front of it does."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import trustme

from mailqueue.errors import LedgerUnavailable
from mailqueue.ledger.base import Submission
from mailqueue.ledger.open import open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.store


def forward(outside: ssl.SSLSocket, inside: socket.socket) -> None:
    """Copy bytes both ways until one side closes."""
    with outside, inside, selectors.DefaultSelector() as selector:
        selector.register(outside, selectors.EVENT_READ, inside)
        selector.register(inside, selectors.EVENT_READ, outside)
        with contextlib.suppress(OSError):
            while True:
                for key, _events in selector.select():
                    content = key.fileobj.recv(65536)
                    while isinstance(key.fileobj, ssl.SSLSocket) and key.fileobj.pending():
                        content += key.fileobj.recv(65536)
                    if not content:
                        return
                    key.data.sendall(content)


@pytest.fixture
def encrypted(valkey_url: str, tmp_path: Path) -> Iterator[int]:
    """The port of a store that speaks TLS; its authority's certificate is ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    store = int(valkey_url.rpartition(":")[2].partition("/")[0])
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _address = server.accept()
                except OSError:
                    return
                try:
                    outside = context.wrap_socket(link, server_side=True)
                except OSError:
                    link.close()
                    continue
                inside = socket.create_connection(("127.0.0.1", store))
                threads.append(threading.Thread(target=forward, args=(outside, inside)))
                threads[-1].start()

        accepting = threading.Thread(target=serve)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for thread in [accepting, *threads]:
        thread.join()


def test_a_store_with_a_certificate_that_verifies(encrypted, tmp_path):
    ledger = open_ledger(f"rediss://127.0.0.1:{encrypted}/0?ssl_ca_certs={tmp_path / 'ca.pem'}")
    assert ledger.accept("default", [Submission("a", b"x" * 300_000)]).number == 1
    assert ledger.get("a").envelope == b"x" * 300_000
    ledger.close()


def test_a_certificate_is_verified_by_default_and_the_trouble_told(encrypted):
    ledger = open_ledger(f"rediss://127.0.0.1:{encrypted}/0")
    with pytest.raises(LedgerUnavailable, match="through TLS: check its certificate"):
        ledger.ping()


def test_verification_can_be_waived(encrypted):
    ledger = open_ledger(f"rediss://127.0.0.1:{encrypted}/0?ssl_cert_reqs=none&ssl_check_hostname=false")
    ledger.ping()
    ledger.close()
