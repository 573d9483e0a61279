"""What deploy/ and the Procfile say is parsed, and their commands are executed."""

from __future__ import annotations

import configparser
import re
import shlex
import signal
import smtplib
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import redis
import yaml

import mailqueue
from mailqueue import conf
from mailqueue.lanes import LANES, queue_name
from mailqueue.testing.child import Child
from mailqueue.testing.environment import clean_environment
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.worker import Worker

ROOT = Path(mailqueue.__file__).parent.parent
MAILQUEUE = [sys.executable, "-m", "mailqueue"]


def compose() -> dict:
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read_string((ROOT / "deploy/mailqueue-worker@.service").read_text())
    return parser


def dockerfile() -> list[tuple[str, str]]:
    text = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line and not line.startswith("#")]


def compose_workers() -> dict[str, list[str]]:
    services = compose()["services"]
    return {lane: [*MAILQUEUE, *services[lane]["command"]] for lane in LANES}


def procfile_workers() -> dict[str, list[str]]:
    lines = (line.partition(": ") for line in (ROOT / "Procfile").read_text().splitlines())
    return {lane: [*MAILQUEUE, *shlex.split(command)[1:]] for lane, _, command in lines}


def systemd_workers() -> dict[str, list[str]]:
    command = unit()["Service"]["ExecStart"]
    return {lane: [*MAILQUEUE, *shlex.split(command.replace("%i", lane))[1:]] for lane in LANES}


WORKERS = {"compose": compose_workers, "Procfile": procfile_workers, "systemd": systemd_workers}


@pytest.mark.parametrize("source", WORKERS)
def test_each_lane_has_a_worker_for_it_alone(source):
    commands = WORKERS[source]()
    assert set(commands) == set(LANES)
    names = set()
    for lane, command in commands.items():
        run = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
        words = shlex.split(run.stderr)
        assert words[words.index("--queues") + 1] == queue_name(lane)
        names.add(words[words.index("--hostname") + 1])
    assert len(names) == len(LANES), "workers of one host need names of their own"


@pytest.mark.store
@pytest.mark.parametrize("source", WORKERS)
def test_the_workers_start_and_end_in_good_order(source, valkey_url, tmp_path):
    environment = clean_environment(MAILQUEUE_BROKER_URL=valkey_url)
    workers = [
        Child(command, log=tmp_path / f"{lane}.log", env=environment, cwd=tmp_path)
        for lane, command in WORKERS[source]().items()
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            await_line(worker, r" ready\.")
        for worker in workers:
            worker.signal(signal.SIGTERM)
        assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    finally:
        for worker in workers:
            worker.close()


def await_line(child: Child, pattern: str, timeout: float = 60) -> re.Match[str]:
    deadline = time.monotonic() + timeout
    while not (match := re.search(pattern, child.log.read_text())):
        assert child.running, child.log.read_text()
        assert time.monotonic() < deadline, child.log.read_text()
        time.sleep(0.02)
    return match


@pytest.mark.store
def test_the_stores_command_makes_a_store_that_can_hold_a_ledger():
    server, *arguments = compose()["services"]["valkey"]["command"]
    assert server == "valkey-server"
    given = dict(zip([word.removeprefix("--") for word in arguments[::2]], arguments[1::2], strict=True))
    with EmbeddedValkey(settings=given) as store, redis.Redis.from_url(store.url) as link:
        assert link.config_get("appendonly")["appendonly"] == "yes"
        assert link.config_get("appendfsync")["appendfsync"] in {"everysec", "always"}
        assert link.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert set(given) == {"appendonly", "appendfsync", "maxmemory-policy"}, "nothing but what was tested"


def test_the_store_keeps_its_data_in_a_volume():
    assert "valkey:/data" in compose()["services"]["valkey"]["volumes"]
    assert "valkey" in compose()["volumes"]


def test_the_inboxs_command_takes_mail(tmp_path):
    command = compose()["services"]["inbox"]["command"]
    assert command == ["inbox", "--host", "0.0.0.0", "--port", "1025"]
    local = ["inbox", "--host", "127.0.0.1", "--port", "0"]  # as the command, but reachable from here alone
    inbox = Child([*MAILQUEUE, *local], log=tmp_path / "log", env=clean_environment())
    try:
        inbox.start()
        port = int(await_line(inbox, r"Inbox on 127\.0\.0\.1:(\d+)")[1])
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            client.sendmail("a@example.com", ["b@example.com"], b"Subject: hi\r\n\r\nhi\r\n")
        await_line(inbox, r"a@example\.com -> b@example\.com  hi")
        inbox.signal(signal.SIGTERM)
        assert inbox.wait(10) == 0
    finally:
        inbox.close()


def test_workers_get_a_relay_and_the_time_to_finish():
    for lane in LANES:
        service = compose()["services"][lane]
        assert {"MAILQUEUE_BROKER_URL", "EMAIL_HOST", "EMAIL_PORT"} <= set(service["environment"])
        assert service["stop_grace_period"] == "11m"
        assert service["depends_on"]["valkey"]["condition"] == "service_healthy"


def test_the_unit_lets_children_finish_longer_than_a_reply_may_take():
    service = unit()["Service"]
    assert service["KillMode"] == "mixed"
    assert service["KillSignal"] == "SIGTERM"
    assert service["TimeoutStopSec"] == "11min"  # RFC 5321 section 4.5.3.2.6: 10 minutes
    assert service["Restart"] == "always"
    assert "%i" in service["ExecStart"]


def test_the_image_is_built_of_what_there_is_and_runs_as_nobody_special():
    instructions = dockerfile()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for keyword, rest in instructions:
        if keyword == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored
        if keyword == "RUN" and "pip install" in rest:
            extras = re.search(r"'\.\[([\w,]+)\]'", rest)[1].split(",")
            assert set(extras) <= set(project["optional-dependencies"])
    words = dict(instructions)
    assert words["USER"] == "mailqueue"
    assert words["ENTRYPOINT"] == '["mailqueue"]'
    assert project["scripts"]["mailqueue"] == "mailqueue.cli:main"


@pytest.mark.store
def test_the_acl_of_the_operators_page_lets_mail_through():
    page = (ROOT / "docs/running-workers.md").read_text()
    rule = re.search(r"^ACL SETUSER mail .*$", page, re.MULTILINE)[0].split()
    with EmbeddedValkey() as store, Inbox() as inbox, redis.Redis.from_url(store.url) as link:
        link.execute_command(*rule)
        url = store.url.replace("127.0.0.1", "mail:secret@127.0.0.1")
        conf.configure(MAILQUEUE_BROKER_URL=url)
        relay = {"EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}
        with Worker({"MAILQUEUE_BROKER_URL": url, **relay}, concurrency=1) as worker:
            mailqueue.send_mail("s", "b", "a@example.com", ["b@example.com"])
            inbox.wait_for(1, timeout=30)
            assert worker.stop() == 0
            assert "ermission" not in worker.log
        assert mailqueue.counts()["default"] == {"sent": 1}
