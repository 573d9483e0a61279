"""The stop flag crosses a fork."""

from __future__ import annotations

import os

from workers.stop import StopFlag


def test_a_child_sees_the_flag_that_its_parent_sets_later():
    flag = StopFlag()
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        os._exit(0 if flag.is_set() else 1)
    flag.set()
    os.write(go, b"x")
    _, status = os.waitpid(pid, 0)
    os.close(ready)
    os.close(go)
    assert os.waitstatus_to_exitcode(status) == 0


def test_sleep_ends_when_the_flag_is_set():
    flag = StopFlag()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        flag.set()

    flag.sleep(60, pause)
    assert len(pauses) == 1
