"""URLs: what is wrong with one, and its spelling for each library."""

from __future__ import annotations

import ssl

import pytest

from mailqueue.conf import url
from mailqueue.conf.secret import SecretURL


@pytest.mark.parametrize(
    "good",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "redis://user:pa%2Fss@localhost:6379/15",
        "redis://:p/a:s@s@localhost:6379/15",
        "redis://[::1]:6379/0",
        "redis://[::1]/0",
        "redis://localhost:/0",
        "rediss://localhost/0?ssl_cert_reqs=none",
        "unix:///run/valkey.sock?db=1",
        "amqp://u:p@localhost:5672//",
        "amqps://localhost/vhost",
        "sentinel://one:26379,two/mymaster/0",
        "sentinel://one:26379;sentinel://two:26379/0?master_name=mymaster",
        "memory://a-name",
    ],
)
def test_a_good_url_has_no_problem(good):
    assert url.problem(good) == ""


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "٣"])
def test_a_port_is_a_number_from_1_to_65535(port):
    assert "port" in url.problem(f"redis://user:hunter2@localhost:{port}/0")
    assert "hunter2" not in url.problem(f"redis://user:hunter2@localhost:{port}/0")


def test_a_password_with_a_slash_and_no_at_sign_does_not_pass_for_a_host():
    assert "percent-encode" in url.problem("redis://user:hunter2/0")


def test_the_port_of_every_server_counts():
    assert "port" in url.problem("amqp://u:p@one:99999//;amqp://u:p@two:5672//")
    assert "port" in url.problem("sentinel://one:99999,two:26379/mymaster/0")


@pytest.mark.parametrize("wrong", ["sentinel://one:26379", "sentinel://one:26379/0", "sentinel://one/"])
def test_sentinels_are_asked_for_a_service(wrong):
    assert "does not name the service" in url.problem(wrong)


@pytest.mark.parametrize("wrong", ["redis://localhost/mail", "rediss://localhost/0/1"])
def test_a_database_of_redis_is_a_number(wrong):
    """redis-py takes a name for database 0 without a word."""
    assert "database is no number" in url.problem(wrong)


def test_a_list_of_servers_is_split_at_schemes_alone():
    assert url.split("amqp://a:x;y@one;amqp://b@two") == ["amqp://a:x;y@one", "amqp://b@two"]


@pytest.mark.parametrize(
    ("given", "scheme"), [("REDIS://x", "redis"), ("redis+socket:///x", "redis+socket"), ("x", "")]
)
def test_schemes(given, scheme):
    assert url.scheme(given) == scheme


@pytest.mark.parametrize(
    ("for_redis", "for_kombu"),
    [
        ("unix:///run/v.sock", "redis+socket:///run/v.sock"),
        ("unix://u:p@/run/v.sock?db=2", "redis+socket://u:p@/run/v.sock?virtual_host=2"),
        ("redis://h:6379/1", "redis://h:6379/1"),
        ("rediss://h/1?ssl_cert_reqs=none", "rediss://h/1?ssl_cert_reqs=none"),
    ],
)
def test_each_library_gets_its_spelling(for_redis, for_kombu):
    assert url.for_kombu(for_redis) == url.for_kombu(for_kombu) == for_kombu
    assert url.for_redis(for_kombu) == url.for_redis(for_redis) == for_redis


def test_kombu_is_told_to_verify_certificates():
    assert url.for_kombu("rediss://h/1") == "rediss://h/1?ssl_cert_reqs=required"
    assert url.for_kombu("rediss://h/1?ssl_ca_certs=/x") == "rediss://h/1?ssl_ca_certs=/x&ssl_cert_reqs=required"
    assert url.for_redis("rediss://h/1?ssl_cert_reqs=CERT_REQUIRED") == "rediss://h/1?ssl_cert_reqs=required"


def test_the_libraries_understand_what_they_get():
    redis_connection = pytest.importorskip("redis.connection")
    kombu = pytest.importorskip("kombu")
    secure = "rediss://u:p@h:6380/1"
    parsed = redis_connection.parse_url(url.for_redis(url.for_kombu(secure)))
    assert (parsed["host"], parsed["port"], parsed["db"], parsed["ssl_cert_reqs"]) == ("h", 6380, 1, "required")
    with kombu.Connection(url.for_kombu(secure)) as connection:
        assert connection.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    with kombu.Connection(url.for_kombu("unix:///run/v.sock?db=2")) as connection:
        channel = connection.transport.Channel
        assert connection.transport_cls == "redis"
        assert channel.__module__ == "kombu.transport.redis"
    assert redis_connection.parse_url(url.for_redis("redis+socket:///run/v.sock?virtual_host=2")) == {
        "db": 2,
        "path": "/run/v.sock",
        "connection_class": redis_connection.UnixDomainSocketConnection,
    }


@pytest.mark.parametrize(
    ("given", "urls", "service"),
    [
        ("sentinel://one:26379/mymaster/2", "sentinel://one:26379/2", "mymaster"),
        ("sentinel://u:p/@@one,two:7/mymaster", "sentinel://u:p/@@one/0;sentinel://u:p/@@two:7/0", "mymaster"),
        ("sentinel://one;sentinel://two/3?master_name=m", "sentinel://one/3;sentinel://two/3", "m"),
    ],
)
def test_kombu_gets_the_sentinels_as_a_list_and_the_service_beside_it(given, urls, service):
    assert url.transport(given) == (urls, {"master_name": service})


def test_other_brokers_need_no_options():
    assert url.transport("redis://h/0") == ("redis://h/0", {})


def test_kombu_understands_the_sentinels():
    kombu = pytest.importorskip("kombu")
    urls, options = url.transport("sentinel://u:p@one:26379,two:26380/mymaster/2")
    with kombu.Connection(urls, transport_options=options) as connection:
        assert connection.transport.driver_type == "redis"
        assert (connection.userid, connection.password, connection.virtual_host) == ("u", "p", "2")
        assert connection.alt == ["sentinel://u:p@one:26379/2", "sentinel://u:p@two:26380/2"]
        connection.switch(connection.alt[1])  # as kombu does when the first one is lost
        assert (connection.userid, connection.password, connection.virtual_host) == ("u", "p", "2")


SAFE = "sentinel://u:pw@one,two:7/mymaster/0?ssl=true&ssl_ca_certs=/ca.pem&sentinel_password=hush"


def test_sentinels_and_their_primary_are_spoken_to_over_tls():
    """The ledger's connection honours these options; the broker's must not be in the clear."""
    kombu = pytest.importorskip("kombu")
    urls, options = url.transport(SAFE)
    with kombu.Connection(urls, transport_options=options) as connection:
        for one in connection.alt:
            connection.switch(one)
            assert connection.ssl["ssl_ca_certs"] == "/ca.pem"
            assert connection.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    asked = options["sentinel_kwargs"]
    assert (asked["password"], asked["ssl"], asked["ssl_ca_certs"]) == ("hush", True, "/ca.pem")
    assert asked["ssl_cert_reqs"] == "required"
    assert asked["socket_timeout"] > 0


def test_what_is_secret_stays_hidden_in_what_kombu_gets():
    urls, options = url.transport(SecretURL(SAFE))
    assert "pw" not in repr(urls)
    assert "hush" not in repr(urls) + repr(options)
    assert isinstance(url.transport(SecretURL("redis://:pw@h/0"))[0], SecretURL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("sentinel://one/mymaster/0?ssl=true&ssl_min_version=3", "ssl_min_version"),
        ("sentinel://one/mymaster/0?ssl_ca_certs=/ca.pem", "without ssl=true"),
        ("sentinel://one/mymaster/0?ssl=true&ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("amqps://one//?ssl_version=3", "ssl_version"),
        ("amqps://one//;amqps://two//", "several names"),
    ],
)
def test_options_that_cannot_be_passed_on_are_refused(wrong, said):
    assert said in url.problem(wrong)


@pytest.mark.parametrize(
    ("given", "expected", "tls"),
    [
        ("amqps://u:p@mq:5671//", "amqps://u:p@mq:5671//", {"server_hostname": "mq"}),
        ("amqps://u:p@[::1]:5671/v", "amqps://u:p@[::1]:5671/v", {"server_hostname": "::1"}),
        ("amqps://localhost", "amqps://localhost", {"server_hostname": "localhost"}),
        ("amqps://h:1//;amqps://h:2//", "amqps://h:1//;amqps://h:2//", {"server_hostname": "h"}),
        (
            "amqps://h//?ssl_ca_certs=%2Fca.pem&heartbeat=30",
            "amqps://h//?heartbeat=30",
            {"server_hostname": "h", "ca_certs": "/ca.pem"},
        ),
    ],
)
def test_the_certificate_of_rabbitmq_must_be_for_its_host(given, expected, tls):
    assert url.problem(given) == ""
    assert url.transport(given) == (expected, {"ssl": {"cert_reqs": ssl.CERT_REQUIRED, **tls}})


def test_verification_is_waived_by_name_alone():
    assert url.transport("amqps://h//?ssl_cert_reqs=none") == ("amqps://h//", {"ssl": {"cert_reqs": ssl.CERT_NONE}})
    assert url.transport("amqps://h//?ssl_check_hostname=false")[1] == {"ssl": {"cert_reqs": ssl.CERT_REQUIRED}}


@pytest.mark.parametrize(
    ("broker", "ledger", "one"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0", True),
        ("redis+socket:///run/valkey.sock?virtual_host=1", "unix:///run/valkey.sock?db=1", True),
        ("redis://localhost:6379/0", "redis://localhost:6379/1", False),
        ("redis://web:one@localhost/0", "redis://ledger:two@localhost/0", False),  # neither user may do both
        ("amqp://localhost//", "redis://localhost/0", False),
        ("memory://", "memory://", False),
    ],
)
def test_one_store_is_one_that_does_for_both(broker, ledger, one):
    assert url.in_one_store(broker, ledger) is one
