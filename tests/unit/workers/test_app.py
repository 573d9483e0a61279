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
