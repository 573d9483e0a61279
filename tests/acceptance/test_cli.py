"""The command line from a user's seat: dev in one terminal, send and status in another, and clear errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailqueue import conf
from mailqueue.testing.child import children_of
from mailqueue.testing.environment import clean_environment

pytestmark = pytest.mark.store

MAILQUEUE = [sys.executable, "-m", "mailqueue"]


@pytest.fixture
def environment(tmp_path):
    """An environment of a user of their own: no settings, nobody else's dev."""
    (tmp_path / "run").mkdir()
    (tmp_path / "tmp").mkdir()
    return clean_environment(
        XDG_RUNTIME_DIR=str(tmp_path / "run"), TMPDIR=str(tmp_path / "tmp"), PYTHONUNBUFFERED="1", COLUMNS="160"
    )


def run(*arguments, environment, text="", **more):
    return subprocess.run(
        [*MAILQUEUE, *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=environment | more,
        timeout=60,
        check=False,
    )


class Dev:
    """A running ``mailqueue dev`` and what it has printed."""

    def __init__(self, environment, *arguments):
        self.process = subprocess.Popen(
            [*MAILQUEUE, "dev", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            process_group=0,
        )
        self.output = ""

    def wait_for(self, pattern):
        while not (match := re.search(pattern, self.output)):
            line = self.process.stdout.readline()
            assert line, f"it ended without {pattern!r}:\n{self.output}"
            self.output += line
        return match

    def exports(self):
        self.wait_for("Mail, as it arrives")
        return dict(re.findall(r"^export (\w+)=(.*)$", self.output, re.MULTILINE))


@pytest.fixture
def dev(environment, tmp_path):
    started = []

    def start(*arguments):
        started.append(Dev(environment, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.send_signal(signal.SIGINT)
        one.process.communicate(timeout=60)
        assert one.process.returncode == 0
    assert list((tmp_path / "run").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def status_of(message_id, environment, **more):
    for _ in range(200):
        found = json.loads(run("status", message_id, "--json", environment=environment, **more).stdout)
        if found["state"] not in {"queued", "sending", "deferred", "unknown"}:
            return found
    pytest.fail(f"{found}")


def test_dev_send_and_status_need_no_settings(dev, environment, tmp_path):
    (tmp_path / "page.html").write_text("<p>Hallo</p>")
    (tmp_path / "data.bin").write_bytes(bytes(range(256)))
    terminal = dev("--full")
    terminal.wait_for("Mail, as it arrives")
    options = ["--to", "Zoë <zoe@example.com>", "--cc", "c@example.com", "--bcc", "b@example.com", "--subject", "Grüße"]
    options += ["--from", "me@example.com", "--reply-to", "r@example.com", "--header", "X-Kind: test"]
    options += ["--html", str(tmp_path / "page.html"), "--attach", str(tmp_path / "data.bin"), "--lane", "urgent"]
    sent = run("send", *options, environment=environment, text="Hallo Zoë\n")
    assert sent.returncode == 0, sent.stderr
    message_id = sent.stdout.strip()
    assert "mailqueue dev" in sent.stderr
    terminal.wait_for(r"me@example\.com -> zoe@example\.com, c@example\.com, b@example\.com  Grüße")
    for line in ("X-Kind: test", "Reply-To: r@example.com", "Hallo Zoë", "<p>Hallo</p>", 'filename="data.bin"'):
        terminal.wait_for(re.escape(line))

    found = status_of(message_id, environment)
    assert (found["state"], found["lane"], found["attempts"]) == ("sent", "urgent", 1)
    assert {result["verdict"] for result in found["recipients"].values()} == {"accepted"}
    shown = run("status", message_id, environment=environment)
    assert "sent" in shown.stdout
    assert "zoe@example.com" in shown.stdout
    assert "250 2.0.0 OK, kept" in shown.stdout
    assert json.loads(run("status", "--json", environment=environment).stdout)["urgent"]["sent"] == 1
    assert re.search(r"^urgent +1 *$", run("status", environment=environment).stdout, re.MULTILINE)


def test_an_application_finds_dev_by_the_lines_that_it_prints(dev, environment):
    exports = {name: shlex.split(value)[0] for name, value in dev().exports().items()}
    assert set(exports) == {"MAILQUEUE_BROKER_URL", "EMAIL_HOST", "EMAIL_PORT"}
    program = "from mailqueue import send_mail; print(send_mail('s', 'b', 'a@example.com', ['b@example.com']))"
    elsewhere = environment | {"XDG_RUNTIME_DIR": "/nowhere"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=elsewhere | exports,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stdout == "1\n", found.stderr


def test_every_way_out_of_the_project_leads_to_the_inbox(dev, environment):
    elsewhere = {"host": "198.51.100.2", "port": 25}
    environment["MAILERS"] = json.dumps({"news": {"BACKEND": conf.SMTP_BACKEND, "OPTIONS": elsewhere}})
    environment["MAILQUEUE_KEY_PREFIX"] = "shop"
    environment["EMAIL_HOST"] = "198.51.100.2"
    terminal = dev()
    terminal.wait_for("Mail, as it arrives")
    for using in ((), ("--using", "news")):
        sent = run(
            "send", "--to", "a@example.com", "--subject", "-".join(["s", *using]), *using, environment=environment
        )
        assert sent.returncode == 0, sent.stderr
    terminal.wait_for("  s  ")
    terminal.wait_for("s---using-news")


def test_dev_keeps_its_store_in_a_directory_that_it_is_given(dev, environment, tmp_path):
    def once():
        terminal = dev("--directory", str(tmp_path / "data"))
        terminal.wait_for("Mail, as it arrives")
        return terminal

    terminal = once()
    message_id = run("send", "--to", "a@example.com", "--subject", "s", environment=environment).stdout.strip()
    assert status_of(message_id, environment)["state"] == "sent"
    terminal.process.send_signal(signal.SIGINT)
    terminal.process.wait(60)
    once()
    assert status_of(message_id, environment)["state"] == "sent"


def test_dev_ends_and_says_why_when_its_worker_dies(environment, tmp_path):
    dev = Dev(environment)
    dev.wait_for("Mail, as it arrives")
    [worker] = [pid for pid in children_of(dev.process.pid) if b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    output, _ = dev.process.communicate(timeout=60)
    assert dev.process.returncode == 1
    assert "the worker has ended" in output
    assert list((tmp_path / "tmp").iterdir()) == []


# -- errors: one line on stderr, never a traceback


def refused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("command", [("send", "--to", "a@example.com", "--subject", "s"), ("status",), ("status", "x")])
def test_without_a_store_the_error_names_dev(command, environment):
    url = f"redis://:secret@127.0.0.1:{refused_port()}/0"
    began = time.monotonic()
    result = run(*command, environment=environment, MAILQUEUE_BROKER_URL=url)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "mailqueue dev" in result.stderr
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    assert time.monotonic() - began < 15


def test_a_frozen_store_is_an_error_within_the_deadline(environment):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        began = time.monotonic()
        result = run(
            "send", "--to", "a@example.com", "--subject", "s", environment=environment, MAILQUEUE_BROKER_URL=url
        )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert time.monotonic() - began < 15  # the deadline is 2 s; the rest is Python's start on a busy machine


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--subject", "s"], 2, "no recipient"),
        (["--to", "a@example.com"], 2, "--subject"),
        (["--to", "a@@b@c", "--subject", "s"], 1, "nvalid address"),
        (["--to", "a@example.com", "--subject", "a\nb"], 1, "newlines"),
        (["--to", "a@example.com", "--subject", "s", "--header", "no colon"], 2, "Name: value"),
        (["--to", "a@example.com", "--subject", "s", "--header", "X-A: a\nb"], 1, "newlines"),
        (["--to", "a@example.com", "--subject", "s", "--attach", "/no/such/file"], 2, "/no/such/file"),
        (["--to", "a@example.com", "--subject", "s", "--html", "."], 2, "directory"),
        (["--to", "a@example.com", "--subject", "s", "--lane", "fast"], 2, "urgent"),
        (["--to", "a@example.com", "--subject", "s", "--using", "nobody"], 1, "nobody"),
    ],
)
def test_bad_input_is_told_in_words(options, status, words, environment, valkey_url):
    result = run("send", *options, environment=environment, text="body", MAILQUEUE_BROKER_URL=valkey_url)
    assert result.returncode == status, result.stderr
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_body_that_is_not_text_is_told_in_words(environment, valkey_url):
    result = subprocess.run(
        [*MAILQUEUE, "send", "--to", "a@example.com", "--subject", "s"],
        input=b"\xff\xfe",
        capture_output=True,
        env=environment | {"MAILQUEUE_BROKER_URL": valkey_url},
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert b"not UTF-8" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_message_that_the_store_could_not_take_waits_here_and_is_sent_on(environment, tmp_path, valkey_url):
    spool = {"MAILQUEUE_SPOOL": str(tmp_path / "spool.db")}
    away = f"redis://127.0.0.1:{refused_port()}/0"
    options = ("--to", "a@example.com", "--subject", "s")
    sent = run("send", *options, environment=environment, text="b", MAILQUEUE_BROKER_URL=away, **spool)
    assert sent.returncode == 0, sent.stderr
    message_id = sent.stdout.strip()
    assert json.loads(run("spool", "status", "--json", environment=environment, **spool).stdout)["waiting"] == 1
    asked = run("status", message_id, environment=environment, MAILQUEUE_BROKER_URL=valkey_url, **spool)
    assert asked.returncode == 1
    assert "waits in this host's spool" in asked.stderr
    flushed = run("spool", "flush", environment=environment, MAILQUEUE_BROKER_URL=valkey_url, **spool)
    assert (flushed.returncode, flushed.stdout) == (0, "1 accepted, 0 waiting, 0 held\n"), flushed.stderr
    found = json.loads(
        run("status", message_id, "--json", environment=environment, MAILQUEUE_BROKER_URL=valkey_url).stdout
    )
    assert found["state"] == "queued"


def test_messages_are_held_listed_released_and_cancelled(environment, valkey_url):
    def mailqueue(*arguments):
        done = run(*arguments, environment=environment, text="b", MAILQUEUE_BROKER_URL=valkey_url)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    [message_id] = mailqueue("send", "--to", "a@example.com", "--subject", "s", "--lane", "bulk")
    assert mailqueue("hold", message_id) == [message_id, "held"]
    assert mailqueue("list", "--state", "held", "--ids") == [message_id]
    assert mailqueue("release", "--lane", "bulk", "--yes") == ["1", "deferred"]
    assert mailqueue("cancel", message_id) == [message_id, "cancelled"]
    assert json.loads(mailqueue("status", message_id, "--json")[1].strip(",")) == message_id


def test_an_id_that_nobody_knows(environment, valkey_url):
    result = run("status", "nobody", environment=environment, MAILQUEUE_BROKER_URL=valkey_url)
    assert result.returncode == 1
    assert "no message 'nobody' in the ledger" in result.stderr


def test_every_command_has_help_with_examples(environment):
    shown = run("--help", environment=environment).stdout
    commands = re.findall(r"^  ([\w-]+) ", shown.partition("Commands:")[2], re.MULTILINE)
    told = (
        "bulk cancel check demo dev hold inbox list rates relays release requeue resolve retry-schedule send spool status "
        "suppress worker"
    )
    assert set(commands) == set(told.split())
    for command in commands:
        text = run(command, "--help", environment=environment).stdout
        assert command == "demo" or f"mailqueue {command}" in text.partition("Examples:")[2]
