"""A server in a process of its own, which answers questions by lines of JSON, and is gone when we are.

In a process of its own, because a server in a thread would take its time from the system that is tested, and none of
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
from typing import IO, TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

__all__ = ["HOST", "Helper", "HelperTrouble", "serve"]

HOST: Final = "127.0.0.1"


class HelperTrouble(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """The helper did not start, or has ended."""


class Helper:
    """A helper as a context manager: serving on ``port`` on entering, ended on leaving.

    Args:
        module: What ``python -m`` runs; its main() is ``serve()``.
        arguments: Its command line.
        paths: Where it finds its modules, besides where Python looks.
        env: Its environment; None for a copy of ours.

    Raises:
        HelperTrouble: From every method, once its process has ended.
    """

    def __init__(
        self,
        module: str,
        arguments: Iterable[str] = (),
        *,
        paths: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._paths = paths
        self._env = env
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
        env = dict(os.environ if self._env is None else self._env)
        if self._paths:
            env["PYTHONPATH"] = os.pathsep.join([*self._paths, *filter(None, [env.get("PYTHONPATH")])])
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
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
