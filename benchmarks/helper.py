"""A server of the benchmarks in a process of its own: asked by lines of JSON, gone when we are.

In a process of its own, because a server in a thread would take its time from the system that is measured, and none of
its CPU time could be told apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = ["HOST", "ROOT", "Helper", "HelperTrouble", "serve"]

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent  # of the repository


class HelperTrouble(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """The helper did not start, or has ended."""


class Helper:
    """A helper as a context manager: serving on ``port`` on entering, ended on leaving.

    Args:
        module: What ``python -m`` runs; its main() is ``serve()``.
        arguments: Its command line.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.host = HOST
        self.port = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def ask(self, question: str) -> Any:
        """Its answer to ``question``."""
        pipes = self._running
        try:
            _of(pipes.stdin).write(f"{question}\n")
            _of(pipes.stdin).flush()
        except BrokenPipeError:
            raise HelperTrouble(f"{' '.join(self._command)} has ended") from None
        return self._answer()

    def start(self) -> None:
        """Start it and learn its port."""
        paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,  # a Ctrl-C is for us; it ends when its standard input does, however we end
        )
        self.port = self._answer()["port"]

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            _of(process.stdin).close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _of(process.stdout).close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise HelperTrouble(f"{' '.join(self._command)} is not running")
        return self._process

    def _answer(self) -> Any:
        line = _of(self._running.stdout).readline()
        if not line:
            raise HelperTrouble(f"{' '.join(self._command)} has ended")
        return json.loads(line)


async def serve(protocol: Callable[[], asyncio.Protocol], answer: Callable[[str], Any]) -> None:
    """Serve on a free port, say which, and answer what is asked on standard input until that ends."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server((HOST, 0), backlog=512)
    # asyncio does so by itself only for a socket whose protocol was named. Connections have it from their listener.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = await loop.create_server(protocol, sock=listener)
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    _say({"port": listener.getsockname()[1]})
    while line := await questions.readline():
        _say(answer(line.decode().strip()))
    server.close()


def _say(words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # all of ours are pipes
    return pipe
