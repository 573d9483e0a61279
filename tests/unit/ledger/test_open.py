"""Which ledger a URL opens."""

from __future__ import annotations

import pytest

from mailqueue.errors import ImproperlyConfigured
from mailqueue.ledger.base import Submission
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.open import kept_in_memory, open_ledger


def options(ledger):
    return ledger._client.connection_pool.connection_kwargs


def kind(ledger):
    return ledger._client.connection_pool.connection_class.__name__


def test_a_plain_url():
    ledger = open_ledger("redis://db.example.com:6380/3", timeout=0.8)
    assert repr(ledger) == "<RedisLedger {mailqueue}:* at db.example.com:6380/3>"
    used = options(ledger)
    assert (used["host"], used["port"], used["db"], used["socket_timeout"]) == ("db.example.com", 6380, 3, 0.8)
    assert used["socket_connect_timeout"] < 0.8
    assert used["retry"].get_retries() == 0


def test_credentials_are_used_and_never_shown():
    ledger = open_ledger("rediss://mail:s3cr%2Fet@db/0?ssl_ca_certs=/etc/ca.pem")
    used = options(ledger)
    assert (used["username"], used["password"], used["ssl_ca_certs"]) == ("mail", "s3cr/et", "/etc/ca.pem")
    assert kind(ledger) == "SSLConnection"
    assert "s3cr" not in repr(ledger)


def test_a_unix_socket():
    ledger = open_ledger("unix:///run/valkey.sock?db=2")
    assert (options(ledger)["path"], options(ledger)["db"]) == ("/run/valkey.sock", 2)
    assert repr(ledger) == "<RedisLedger {mailqueue}:* at /run/valkey.sock/2>"


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://mail:secret@s1:26379,s2:26380,s3/main/4?sentinel_password=other",
        "sentinel://mail:secret@s1:26379;sentinel://s2:26380;sentinel://s3/4?master_name=main&sentinel_password=other",
        "sentinel://mail:secret@s1:26379,s2:26380,s3/4?service_name=main&sentinel_password=other",
    ],
)
def test_sentinels(url):
    ledger = open_ledger(url)
    assert repr(ledger) == "<RedisLedger {mailqueue}:* at s1:26379,s2:26380,s3:26379/main/4>"
    used = options(ledger)
    assert (used["db"], used["username"], used["password"]) == (4, "mail", "secret")
    sentinels = ledger._client.connection_pool.sentinel_manager.sentinels
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in sentinels]
    assert [(each["host"], each["port"], each["password"]) for each in asked] == [
        ("s1", 26379, "other"),
        ("s2", 26380, "other"),
        ("s3", 26379, "other"),
    ]
    assert kind(ledger) == "SentinelManagedConnection"


def test_sentinels_through_tls():
    ledger = open_ledger("sentinel://s1/main?ssl=true&ssl_ca_certs=/etc/ca.pem")
    assert kind(ledger) == "SentinelManagedSSLConnection"
    assert options(ledger)["ssl_ca_certs"] == "/etc/ca.pem"
    (sentinel,) = ledger._client.connection_pool.sentinel_manager.sentinels
    assert sentinel.connection_pool.connection_class.__name__ == "SSLConnection"


def test_answers_are_octets_and_timeouts_ours_whatever_the_url_says():
    ledger = open_ledger("redis://db/0?decode_responses=True&socket_timeout=99&retry_on_timeout=yes&protocol=3")
    used = options(ledger)
    assert "decode_responses" not in used
    assert (used["socket_timeout"], used["protocol"]) == (1.0, 2)
    assert ledger._client.connection_pool.get_encoder().decode_responses is False


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "begins with none of redis://"),
        ("amqp://guest:secret@rabbit//", "begins with none of"),
        ("redis://user:secret@db/0?colour=red", "colour"),
        ("redis://user:secret@db/0?db=secret", "malformed"),
        ("redis://user:secret/x@db/0", "malformed"),
        ("rediss://user:secret@db/0?ssl_cert_reqs=perhaps", "perhaps"),
        ("sentinel://user:secret@s1:26379/main/0?colour=red", "colour"),
        ("sentinel://user:secret@s1:26379/0", "the service's name"),
    ],
)
def test_a_url_that_cannot_work_is_reported_without_its_secrets(url, words):
    with pytest.raises(ImproperlyConfigured, match=words) as caught:
        open_ledger(url)
    assert "secret" not in str(caught.value)


def test_a_ledger_in_memory_is_one_for_the_whole_process():
    ledger = open_ledger("memory://test-open-one")
    assert isinstance(ledger, MemoryLedger)
    ledger.accept("default", [Submission("a", b"")])
    assert open_ledger("memory://test-open-one").counts() == {"default": {"queued": 1}}
    assert open_ledger("memory://test-open-two").counts() == {}


def test_time_in_memory_can_be_moved_for_tests():
    moved = [0.0]
    ledger = open_ledger("memory://test-open-clock", clock_offset=lambda: moved[0])
    (first,) = ledger.accept("default", [Submission("a", b"")]).accepted
    moved[0] = -5000.0
    (second,) = ledger.accept("default", [Submission("b", b"")]).accepted
    assert first.accepted_at - second.accepted_at == pytest.approx(5000, abs=5)


def test_a_ledger_of_ones_own_can_stand_behind_a_url_for_a_while():
    mine = MemoryLedger()
    with kept_in_memory(mine) as url:
        assert open_ledger(url) is mine
        with kept_in_memory(MemoryLedger()) as another:
            assert open_ledger(another) is not mine
    assert open_ledger(url) is not mine
