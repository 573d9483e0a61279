"""How safely a store keeps what it was told: its check-up, and waiting for its disk."""

from __future__ import annotations

import threading
import time

import fakeredis
import pytest
import redis

from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable
from mailqueue.ledger.base import Checkup, Submission
from mailqueue.ledger.open import open_ledger
from mailqueue.ledger.redis import RedisLedger


class Store:
    """A store that answers as told: values, or errors to raise."""

    def __init__(self, **answers):
        self.answers = answers

    def execute_command(self, *command):
        answer = self.answers["_".join(command).replace(" ", "_").replace("-", "_").lower()]
        if isinstance(answer, Exception):
            raise answer
        return answer


FORBIDDEN = redis.exceptions.NoPermissionError("this user has no permissions to run the command")
SAFE = {"maxmemory_policy": "noeviction", "used_memory": 1}
KEPT = {"aof_enabled": 1, "loading": 0}


def check(durable=False, **answers):
    store = Store(**{"info_memory": SAFE, "info_persistence": KEPT, **answers})
    return RedisLedger(store, where="mail:6379/0").check(durable=durable)


def test_a_store_that_keeps_everything_is_in_order():
    assert check() == Checkup()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random", "volatile-ttl"])
def test_one_that_evicts_is_a_problem_that_names_place_and_remedy(policy):
    (problem,) = check(info_memory={"maxmemory_policy": policy}).problems
    assert policy in problem
    assert "mail:6379/0" in problem
    assert "set maxmemory-policy to noeviction" in problem


def test_one_without_an_append_only_file_is_a_warning():
    checkup = check(info_persistence={"aof_enabled": 0})
    assert checkup.problems == ()
    assert "set appendonly to yes" in checkup.warnings[0]


def test_where_info_does_not_tell_the_settings_do():
    (problem,) = check(info_memory={}, config_get_maxmemory_policy={b"maxmemory-policy": b"allkeys-lfu"}).problems
    assert "allkeys-lfu" in problem


def test_a_managed_store_that_does_not_let_us_look_is_taken_as_it_is():
    assert check(info_memory=FORBIDDEN, info_persistence=FORBIDDEN, config_get_maxmemory_policy=FORBIDDEN) == Checkup()
    unknown = redis.exceptions.ResponseError("unknown command 'CONFIG'")
    assert check(info_memory={}, info_persistence={}, config_get_maxmemory_policy=unknown) == Checkup()


ERROR = redis.exceptions.ResponseError
NO_FILE = ERROR("WAITAOF cannot be used when numlocal is set but appendonly is disabled.")


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (NO_FILE, "set appendonly to yes"),
        (ERROR("unknown command 'WAITAOF', with args beginning with: "), "run Valkey, or Redis 7.2 or later"),
        (FORBIDDEN, "grant it that command"),
    ],
)
def test_one_that_cannot_wait_for_its_disk_is_a_problem_where_that_is_asked_for(answer, remedy):
    (problem,) = check(durable=True, waitaof_1_0_1=answer).problems
    assert "MAILQUEUE_DURABILITY is always" in problem
    assert "mail:6379/0" in problem
    assert remedy in problem
    assert check(waitaof_1_0_1=answer).problems == ()


def test_whether_it_can_wait_is_told_without_waiting_for_it():
    assert check(durable=True, waitaof_1_0_1=[0, 0]) == Checkup()


def test_what_it_says_of_its_disk_for_another_reason_is_no_setting():
    with pytest.raises(LedgerUnavailable, match="mail:6379/0"):
        check(durable=True, waitaof_1_0_1=ERROR("WAITAOF cannot be used with replica instances."))


def test_one_that_is_away_is_unavailable():
    with pytest.raises(LedgerUnavailable, match="mail:6379/0"):
        check(info_memory=redis.exceptions.ConnectionError("refused"))


@pytest.mark.store
def test_a_real_store_is_checked(valkey_url):
    ledger = open_ledger(valkey_url)
    assert ledger.check() == ledger.check(durable=True) == Checkup()
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "allkeys-lru" in ledger.check().problems[0]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    ledger.close()


@pytest.mark.store
def test_accepted_mail_is_on_the_disk_when_durable_returns(valkey_url):
    ledger = open_ledger(valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("appendfsync", "always")
        try:
            ledger.durable(2.0)
            ledger.accept("default", [Submission("a", b"x")])
            began = time.monotonic()
            ledger.durable(2.0)
            assert time.monotonic() - began < 1
        finally:
            client.config_set("appendfsync", "everysec")
    ledger.close()


@pytest.mark.store
def test_it_waits_for_what_other_connections_have_written(valkey_url):
    ledger = open_ledger(valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("appendfsync", "no")  # the store never syncs by itself, so that nothing is ever on the disk
        try:
            ledger.ping()
            thread = threading.Thread(target=ledger.accept, args=("default", [Submission("a", b"x")]))
            thread.start()
            thread.join()
            with pytest.raises(LedgerUnavailable, match="not synced to its disk within"):
                ledger.durable(0.2)
        finally:
            client.config_set("appendfsync", "everysec")
    ledger.ping()
    ledger.close()


@pytest.mark.store
def test_a_store_without_an_append_only_file_cannot_do_it(valkey_url):
    ledger = open_ledger(valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("appendonly", "no")
        try:
            with pytest.raises(ImproperlyConfigured, match="set appendonly to yes"):
                ledger.durable(1.0)
            assert "set appendonly to yes" in ledger.check().warnings[0]
            assert "set appendonly to yes" in ledger.check(durable=True).problems[0]
        finally:
            client.config_set("appendonly", "yes")
    ledger.ping()
    ledger.close()


def test_a_store_that_does_not_know_the_command_cannot_do_it():
    ledger = RedisLedger(fakeredis.FakeRedis())
    with pytest.raises(ImproperlyConfigured, match="run Valkey, or Redis 7"):
        ledger.durable(1.0)
    assert "run Valkey, or Redis 7" in ledger.check(durable=True).problems[0]
    ledger.ping()


def test_one_that_is_away_has_not_synced():
    ledger = open_ledger("redis://127.0.0.1:1/0")
    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        ledger.durable(1.0)
