"""The application of ``celery -A workers``."""

from __future__ import annotations

import subprocess
import sys

from mailqueue.testing.environment import clean_environment


def test_the_broker_of_another_application_is_not_ours():
    """Producers publish to MAILQUEUE_BROKER_URL; a worker that listened elsewhere would wait for ever."""
    program = "from workers import app\nprint(app.connection_for_read().as_uri(), app.connection_for_write().as_uri())"
    environment = clean_environment(
        MAILQUEUE_BROKER_URL="redis://127.0.0.1:4242/3", CELERY_BROKER_URL="redis://198.51.100.1:6379/0"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert [url.rpartition("@")[2] for url in found.stdout.split()] == ["127.0.0.1:4242/3"] * 2


def test_a_worker_checks_whose_certificate_rabbitmq_has_and_hides_the_password():
    program = (
        "from workers import app\nprint(app.connection_for_read().transport_options['ssl'], repr(app.conf.broker_url))"
    )
    environment = clean_environment(
        MAILQUEUE_BROKER_URL="amqps://u:hunter2@mq.example.com//", MAILQUEUE_LEDGER_URL="redis://127.0.0.1:4242/3"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert "'server_hostname': 'mq.example.com'" in found.stdout
    assert "hunter2" not in found.stdout


def test_a_redis_that_has_frozen_ends_the_workers_connection():
    environment = clean_environment(MAILQUEUE_BROKER_URL="redis://127.0.0.1:1/0")
    program = (
        "from workers import app\noptions = app.conf.broker_transport_options\n"
        "print(options['socket_timeout'], options['socket_connect_timeout'])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.split() == ["10", "4"]
