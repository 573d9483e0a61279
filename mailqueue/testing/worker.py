"""A real worker, ``celery -A workers worker``, as a subprocess that can be watched, stopped and killed."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mailqueue.launch import worker_command
from mailqueue.testing.child import Child, children_of
from mailqueue.testing.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = ["Worker", "WorkerTrouble"]

_READY = re.compile(r"@\S+ ready\.")
_NUMBER = itertools.count(1)


class WorkerTrouble(RuntimeError):  # noqa: N818 - named like RelayTrouble
    """The worker ended, or did not come up in time. The message holds the end of its log."""


class Worker:
    """One worker as a context manager: ready on entering, ended with SIGTERM on leaving.

    Args:
        env: Settings, on top of our environment without its own mail settings.
        pool: prefork, threads or solo.
        concurrency: Processes or threads that send.
        lanes: Lanes to serve; empty for all.
        application: Where Celery finds its application: ours, or a project's own.
        options: Further options of ``celery worker``.
        stop_timeout: Seconds given to a SIGTERM before SIGKILL.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        lanes: Sequence[str] = (),
        loglevel: str = "INFO",
        application: str = "workers",
        options: Sequence[str] = (),
        stop_timeout: float = 30.0,
    ) -> None:
        self._stop_timeout = stop_timeout
        self._env = clean_environment(PYTHONUNBUFFERED="1", **env)
        self._command = worker_command(
            lanes=lanes,
            pool=pool,
            concurrency=concurrency,
            loglevel=loglevel,
            application=application,
            name=f"mailqueue-{os.getpid()}-{next(_NUMBER)}",
            options=options,
        )
        self._child: Child | None = None
        self._seen = 0  # length of the log when it was last started

    @property
    def pid(self) -> int:
        """Process id of the worker's main process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its main process runs."""
        return self._child is not None and self._child.running

    @property
    def returncode(self) -> int | None:
        """Exit status of its main process, None while it runs."""
        return self._process.returncode

    @property
    def log(self) -> str:
        """All that it has logged so far, over its restarts."""
        return "" if self._child is None else self._child.log.read_text(errors="replace")

    def children(self) -> list[int]:
        """Process ids of its pool's children."""
        return children_of(self.pid)

    def start(self, timeout: float = 60.0) -> None:
        """Start it, or start it again, and wait until it is ready; WorkerTrouble after ``timeout`` s."""
        if self._child is None:
            directory = Path(tempfile.mkdtemp(prefix="mailqueue-worker-"))
            self._child = Child(
                self._command,
                log=directory / "worker.log",
                # Temporary files of its own as well, for a killed worker cannot remove them.
                env={**self._env, "TMPDIR": str(directory)},
                cwd=directory,
                directory=directory,
            )
        else:
            self._seen = len(self.log)
        self._child.start()
        self.wait_for_log(_READY, timeout=timeout)

    def wait_for_log(self, pattern: str | re.Pattern[str], timeout: float = 30.0) -> re.Match[str]:
        """Wait for a line of the log since the last start; WorkerTrouble if it ends or ``timeout`` s pass."""
        deadline = time.monotonic() + timeout
        while True:
            running = self.running  # asked first: what it logs before its end still counts
            if match := re.search(pattern, self.log[self._seen :]):
                return match
            if not running:
                raise WorkerTrouble(f"the worker ended with {self.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise WorkerTrouble(f"no {pattern!r} in the worker's log within {timeout:g} s:\n{self._tail()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send its main process a signal."""
        self._process.signal(number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; WorkerTrouble after ``timeout`` s."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise WorkerTrouble(f"the worker still runs after {timeout} s:\n{self._tail()}") from None

    def stop(self) -> int | None:
        """End it with SIGTERM as a deployment would, after ``stop_timeout`` s with SIGKILL; returns its exit status."""
        return self._process.stop(self._stop_timeout)

    def kill(self) -> None:
        """End its main process and its children with SIGKILL, at once."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it if it still runs, and remove its log."""
        if self._child is None:
            return
        try:
            self.stop()
        finally:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _process(self) -> Child:
        if self._child is None:
            raise RuntimeError("the worker was not started")
        return self._child

    def _tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.splitlines()[-lines:])
