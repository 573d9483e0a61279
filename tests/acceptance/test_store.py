"""Workers and a store that is not fit for mail: they do not start, or stop as soon as they can tell."""

from __future__ import annotations

import pytest
import redis

from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.worker import Worker, WorkerTrouble

pytestmark = pytest.mark.store

EVICTING = {"maxmemory-policy": "allkeys-lru"}


@pytest.fixture
def settings(valkey_url):
    """What workers need in their environment."""
    return {
        "MAILQUEUE_BROKER_URL": valkey_url,
        "MAILQUEUE_LEDGER_URL": valkey_url,
        "MAILQUEUE_TICK_SECONDS": "0.5",
        "EMAIL_HOST": "127.0.0.1",
    }


def assert_refused(worker, remedy):
    try:
        with pytest.raises(WorkerTrouble, match=remedy):
            worker.start()
        assert worker.returncode == 78
    finally:
        worker.close()


def test_no_worker_starts_on_one_that_evicts(settings, valkey_url):
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert_refused(Worker(settings), "set maxmemory-policy to noeviction")
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_no_worker_starts_on_one_that_cannot_be_waited_for_and_is_to_be(settings, valkey_url):
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("appendonly", "no")
        try:
            worker = Worker({**settings, "MAILQUEUE_DURABILITY": "always"})
            assert_refused(worker, "MAILQUEUE_DURABILITY is always, but .* set appendonly to yes")
        finally:
            client.config_set("appendonly", "yes")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_one_that_was_away_at_the_start_and_evicts_stops_the_worker_when_it_is_back(settings, pool):
    with EmbeddedValkey(settings=EVICTING) as store:
        store.stop()
        with Worker({**settings, "MAILQUEUE_LEDGER_URL": store.url}, pool=pool) as worker:
            worker.wait_for_log("action=ledger_unavailable")
            store.restart()
            worker.wait_for_log("action=store_refused .*set maxmemory-policy to noeviction")
            assert worker.wait(30) == 78
