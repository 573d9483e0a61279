"""A child process that does not outlive its parent, and neither do its files.

It runs in a process group of its own, so that a Ctrl-C at the terminal reaches the parent alone, which then ends its
children in its own order. Should the parent die without doing so (``kill -9`` included), a guard ends the group: a
shell that waits on a pipe, which the kernel closes with the parent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Child", "children_of"]

# Reads the group to guard, or "done"; end of file means that the parent is gone. `rm` is repeated because a killed
# server may write for a moment more.
_GUARD = """
trap "" INT TERM HUP
group=none
while read -r word; do
  [ "$word" = done ] && exit 0
  group=$word
done
[ "$group" = none ] || kill -s KILL -- "-$group"
[ -z "$1" ] && exit 0
for _ in 1 2 3 4 5; do rm -rf -- "$1" && break; sleep 0.2; done
"""


class Child:
    """One subprocess, started and ended by the process that made this object.

    Args:
        command: The program and its arguments.
        log: File that its output is appended to.
        env: Its environment; None for a copy of ours.
        directory: A directory to be removed by ``close()``, or by the guard.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        directory: Path | None = None,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._directory = directory
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running child; RuntimeError if there is none."""
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} is not running")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status once it has ended (negative: the signal), None while it runs or before it was started."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return None
        if process.returncode is None and _has_ended(process):
            # Until it was waited for, its number cannot pass to another group: now is the time to end what it left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._tell("none")
        return process.returncode

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self.returncode is None

    def start(self) -> None:
        """Start it, or start it again after it has ended."""
        if self.running:
            raise RuntimeError(f"{self.command[0]} is running already")
        self._post_guard()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the caller's own command
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                process_group=0,
            )
        self._tell(str(self._process.pid))

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status; subprocess.TimeoutExpired after ``timeout`` s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            status = self.returncode
            if status is not None:
                return status
            if self._process is None:
                raise RuntimeError(f"{self.command[0]} was never started")
            if timeout is not None and deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.command, timeout)
            time.sleep(0.01)

    def stop(self, timeout: float = 10.0) -> int | None:
        """End it with SIGTERM, after ``timeout`` s with SIGKILL; returns its exit status."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a frozen process takes no SIGTERM
        try:
            return self.wait(timeout) if self.running else self.returncode
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int | None:
        """End it and all of its group with SIGKILL, now; returns its exit status."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            return self.wait()
        return self.returncode

    def close(self) -> None:
        """Kill it if it still runs, remove the directory, and let the guard go."""
        if os.getpid() != self._owner:  # a fork of ours: nothing here is its own
            return
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate(b"done\n")

    def _post_guard(self) -> None:
        if self._guard is not None and self._guard.poll() is None:
            return
        self._guard = subprocess.Popen(  # noqa: S603 - our own script
            ["/bin/sh", "-c", _GUARD, "guard", str(self._directory or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _tell(self, word: str) -> None:
        if self._guard is None or self._guard.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard; we are still here to clean up
            self._guard.stdin.write(word.encode() + b"\n")
            self._guard.stdin.flush()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended, leaving its status (and so its number) in place where the platform can do that."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def children_of(pid: int) -> list[int]:
    """Process ids of the live children of ``pid``."""
    rows = _processes_in_proc() if Path("/proc/self/stat").exists() else _processes_by_ps()
    return sorted(child for child, state, parent in rows if parent == pid and not state.startswith("Z"))


def _processes_in_proc() -> Iterator[tuple[int, str, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # proc(5): "pid (name) state ppid ..."; the name may hold spaces and parentheses.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked
        yield int(stat.parent.name), state, int(parent)


def _processes_by_ps() -> Iterator[tuple[int, str, int]]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,stat=,ppid="], check=True, capture_output=True, text=True)  # noqa: S607 - wherever the system has it
    for line in listing.stdout.splitlines():
        pid, state, parent = line.split()
        yield int(pid), state, int(parent)
