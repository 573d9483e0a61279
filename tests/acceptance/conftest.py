"""Real servers for the acceptance tests: Postfix and RabbitMQ, each an instance of our own, on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from kombu import Connection

from mailqueue.lanes import LANES, queue_name
from mailqueue.testing.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MASTER = Path("/usr/lib/postfix/sbin/master")
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports that are free, and not one another's."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def await_port(port: int, child: Child, timeout: float = 60) -> None:
    """Wait until ``port`` takes connections; servers that are not ours have no other signal."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert child.running, f"it ended with {child.returncode}:\n{child.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"nothing listens:\n{child.log.read_text()[-2000:]}"
            time.sleep(0.05)
        else:
            return


# -- Postfix


@dataclass(frozen=True)
class Postfix:
    """A running Postfix that takes mail over STARTTLS alone and discards it; its log tells what it took.

    It refuses refused@example.com for good and later@example.com for now, the sender refused@example.com at MAIL, and
    content whose subject is "Refused". At ``ports`` it takes mail in the clear, and offers what their names say.
    """

    port: int
    ports: Mapping[str, int]
    ca: Path  # PEM of the authority that its certificate (for localhost) is of
    log: Path

    def deliveries(self) -> dict[str, list[str]]:
        """Recipients that it delivered (to nowhere), by queue id."""
        found: dict[str, list[str]] = {}
        for match in re.finditer(r" (\w+): to=<([^>]*)>.* status=sent ", self.log.read_text()):
            found.setdefault(match[1], []).append(match[2])
        return found

    def wait_for(self, recipients: int, timeout: float = 30) -> dict[str, list[str]]:
        """Wait until so many recipients were delivered to; its queue manager works after the reply was given."""
        deadline = time.monotonic() + timeout
        while sum(map(len, self.deliveries().values())) < recipients:
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)
        return self.deliveries()


_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = postfix.mailqueue.invalid
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_delay_reject = no
smtpd_sender_restrictions = check_sender_access inline:{{{{refused@example.com = 550 5.1.8 no}}}}
smtpd_recipient_restrictions = check_recipient_access
 inline:{{{{refused@example.com = 550 5.1.1 no}}, {{later@example.com = 450 4.2.1 later}}}}
header_checks = regexp:{home}/config/header_checks
smtpd_error_sleep_time = 0
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {home}/config/chain.pem
default_transport = discard:
local_transport = discard:
maillog_file_prefixes = {home}
maillog_file = {home}/mail.log
"""

# service type, private, unprivileged, chroot, wakeup, maxproc, command
_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
{services}
postlog  unix-dgram n - n - 1 postlogd
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
tlsmgr   unix - - n 1000? 1 tlsmgr
anvil    unix - - n - 1 anvil
proxymap unix - - n - - proxymap
discard  unix - - n - - discard
error    unix - - n - - error
"""

# What is offered in the clear, by name.
_SERVICES = {
    "chunking": [],
    "pipelining": ["smtpd_discard_ehlo_keywords=chunking"],
    "plain": ["smtpd_discard_ehlo_keywords=chunking,pipelining"],
    "impatient": ["smtpd_hard_error_limit=3"],
    "impatient-pipelining": ["smtpd_hard_error_limit=3", "smtpd_discard_ehlo_keywords=chunking"],
    "few-recipients": ["smtpd_recipient_limit=2"],
}


@pytest.fixture(scope="session")
def postfix(missing: Callable[[str], None]) -> Iterator[Postfix]:
    """A Postfix of our own: its own configuration, queue and port; discards what it takes."""
    if not _MASTER.exists():
        missing("Postfix is not installed")
    if os.getuid() != 0:
        missing("Postfix starts as root only")
    # Not under pytest's own directory: that is closed to the user that Postfix runs as.
    home = Path(tempfile.mkdtemp(prefix="mailqueue-postfix-"))
    # -d keeps the master in our process group, so that it ends with us.
    child = Child([str(_MASTER), "-c", str(home / "config"), "-d"], log=home / "master.log", directory=home)
    try:
        port, ports = _configure(home)
        child.start()
        await_port(port, child)
        yield Postfix(port=port, ports=ports, ca=home / "ca.pem", log=home / "mail.log")
    finally:
        child.stop()
        child.close()


def _configure(home: Path) -> tuple[int, dict[str, int]]:
    """Write the configuration of an instance that lives in ``home``; returns its ports."""
    home.chmod(0o755)
    port, *others = free_ports(1 + len(_SERVICES))
    ports = dict(zip(_SERVICES, others, strict=True))
    for name in ("config", "queue", "data"):
        (home / name).mkdir(mode=0o755)
    shutil.chown(home / "data", "postfix")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(home / "config/chain.pem")
    authority.cert_pem.write_to_path(home / "ca.pem")
    (home / "config/main.cf").write_text(_MAIN_CF.format(home=home))
    services = [
        " ".join(
            [f"127.0.0.1:{ports[name]} inet n - n - - smtpd -o smtpd_tls_security_level=none"]
            + [f"-o {option}" for option in options]
        )
        for name, options in _SERVICES.items()
    ]
    (home / "config/master.cf").write_text(_MASTER_CF.format(port=port, services="\n".join(services)))
    (home / "config/header_checks").write_text("/^Subject: Refused/ REJECT 5.6.0 no\n")
    # Makes the directories of the queue.
    subprocess.run(["/usr/sbin/postfix", "-c", home / "config", "check"], check=True, capture_output=True)
    return port, ports


# -- RabbitMQ


class RabbitMQ:
    """A RabbitMQ of our own: its own node, data, ports and name server."""

    def __init__(self, home: Path) -> None:
        self._port, names_port = free_port(), free_port()
        (home / "plugins").write_text("[].\n")
        (home / "rabbitmq.conf").write_text("loopback_users.guest = true\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),  # of Erlang's cookie
            "ERL_EPMD_PORT": str(names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "mailqueue@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
        }
        # Erlang would start its name server as a daemon that stays; started here, it ends with us.
        epmd = ["epmd", "-address", "127.0.0.1", "-port", str(names_port)]
        self._names = Child(epmd, log=home / "epmd.log", env=self._environment)
        self._server = Child([str(_RABBITMQ)], log=home / "server.log", env=self._environment)
        self._names_port = names_port

    @property
    def url(self) -> str:
        """Of its one virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._names.start()
        await_port(self._names_port, self._names)
        self._server.start()
        await_port(self._port, self._server)

    def close(self) -> None:
        """End it."""
        for child in (self._server, self._names):
            child.stop(20)
            child.close()

    def freeze(self) -> None:
        """Let it answer nothing until ``thaw()``; connections stay."""
        os.killpg(self._server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self._server.pid, signal.SIGCONT)

    def stop_broker(self) -> None:
        """Close all connections and the broker; what is durable stays on its disk."""
        self.control("stop_app")

    def start_broker(self) -> None:
        """Start the broker again, and wait until it takes connections."""
        self.control("start_app")
        await_port(self._port, self._server)

    def control(self, *command: str) -> str:
        """What ``rabbitmqctl`` answers to ``command``."""
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet", *command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def empty(self) -> None:
        """Delete the queues of the lanes, and those for delays that Celery declares for a project's own application."""
        with Connection(self.url) as connection:
            for queue in (*map(queue_name, LANES), *(f"celery_delayed_{number}" for number in range(28))):
                connection.default_channel.queue_delete(queue)


@pytest.fixture(scope="session")
def rabbitmq(missing: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The session's RabbitMQ."""
    if not _RABBITMQ.exists():
        missing("RabbitMQ is not installed")
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def rabbitmq_url(rabbitmq: RabbitMQ) -> str:
    """URL of the session's RabbitMQ, without the lanes' queues."""
    rabbitmq.empty()
    return rabbitmq.url
