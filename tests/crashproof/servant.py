"""A process that serves one rig: started and asked by the rig, told by lines of JSON, gone when the rig is gone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ROOT", "Servant", "serve"]

ROOT = Path(__file__).parents[2]  # of the repository: whence `tests` is imported


class Servant:
    """The rig's end. ``hello`` is what the process said when it was ready (its ports)."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        self._lock = threading.Lock()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"tests.crashproof.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                start_new_session=True,  # a Ctrl-C at the terminal is the rig's business
                text=True,
            )
        self.hello = self._read()

    def ask(self, do: str, **what: Any) -> Any:
        """Tell it to ``do`` something, and return its answer."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self._process.stdin.flush()
            return self._read()

    def close(self) -> None:
        """Let it go: it ends when nobody holds the other end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended with {self._process.wait()}")
        return json.loads(line)


async def serve(hello: Any, handle: Callable[..., Awaitable[Any]]) -> None:
    """The process's end: say ``hello``, then answer what is asked with ``handle(do, **what)`` until the rig is gone."""
    loop = asyncio.get_running_loop()
    asked = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    print(json.dumps(hello), flush=True)  # noqa: T201 - the rig reads it
    while line := await asked.readline():
        print(json.dumps(await handle(**json.loads(line))), flush=True)  # noqa: T201
