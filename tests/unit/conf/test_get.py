"""One setting at a time: where it comes from, and what its text turns into."""

from __future__ import annotations

import os
import pathlib
import timeit

import pytest

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured


def problem(name: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.get(name)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_no_name_stands_twice_in_the_table():
    assert len({setting.name for setting in conf.SETTINGS}) == len(conf.SETTINGS)


class TestSources:
    def test_without_any_source_the_default_counts(self):
        assert conf.get("EMAIL_PORT") == 25
        assert conf.get("EMAIL_SUBJECT_PREFIX") == "[Django] "
        assert conf.get("DEFAULT_FROM_EMAIL") == "webmaster@localhost"
        assert conf.get("EMAIL_TIMEOUT") is None
        assert conf.get("EMAIL_BACKEND") == "mailqueue.mail.backends.queue.EmailBackend"
        assert not conf.is_set("EMAIL_PORT")

    @pytest.mark.parametrize("setting", conf.SETTINGS, ids=lambda setting: setting.name)
    def test_every_setting_has_a_valid_default_of_its_kind(self, setting):
        value = conf.get(setting.name)
        if setting.name != "MAILQUEUE_LEDGER_URL":
            assert value == setting.default
        assert setting.kind.take(value) == value if value is not None else setting.kind.optional
        assert setting.unit
        assert setting.help.endswith(".")

    def test_the_environment_wins_over_the_default(self, monkeypatch):
        monkeypatch.setenv("EMAIL_PORT", "587")
        assert conf.get("EMAIL_PORT") == 587
        assert conf.is_set("EMAIL_PORT")

    def test_the_environment_is_read_at_the_time_of_use(self, monkeypatch):
        monkeypatch.setenv("EMAIL_HOST", "one.example")
        assert conf.get("EMAIL_HOST") == "one.example"
        monkeypatch.setenv("EMAIL_HOST", "two.example")
        assert conf.get("EMAIL_HOST") == "two.example"
        monkeypatch.delenv("EMAIL_HOST")
        assert conf.get("EMAIL_HOST") == "localhost"

    def test_configure_wins_over_the_environment(self, monkeypatch):
        monkeypatch.setenv("EMAIL_PORT", "587")
        conf.configure(EMAIL_PORT=465)
        assert conf.get("EMAIL_PORT") == 465

    def test_calls_of_configure_add_up(self):
        conf.configure(EMAIL_PORT=465)
        conf.configure(EMAIL_HOST="mail.example")
        assert (conf.get("EMAIL_HOST"), conf.get("EMAIL_PORT")) == ("mail.example", 465)

    def test_reset_forgets_what_was_configured(self):
        conf.configure(EMAIL_PORT=465)
        conf.reset()
        assert conf.get("EMAIL_PORT") == 25

    def test_none_is_a_value_where_it_means_something(self, monkeypatch):
        monkeypatch.setenv("EMAIL_TIMEOUT", "10")
        conf.configure(EMAIL_TIMEOUT=None)
        assert conf.get("EMAIL_TIMEOUT") is None

    def test_none_stands_for_not_set_elsewhere(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_DEADLINE", "5")
        conf.configure(MAILQUEUE_DEADLINE=None, EMAIL_HOST_PASSWORD=None)
        assert conf.get("MAILQUEUE_DEADLINE") == 5
        assert conf.get("EMAIL_HOST_PASSWORD") == ""

    @pytest.mark.parametrize("name", ["EMAIL_PORT", "EMAIL_TIMEOUT", "EMAIL_USE_TLS", "MAILQUEUE_BROKER_URL", "ADMINS"])
    def test_an_empty_variable_stands_for_not_set(self, name, monkeypatch):
        default = conf.get(name)
        monkeypatch.setenv(name, "")
        assert conf.get(name) == default
        assert not conf.is_set(name)

    @pytest.mark.parametrize("name", ["EMAIL_SUBJECT_PREFIX", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"])
    def test_an_empty_variable_is_a_value_where_empty_text_is(self, name, monkeypatch):
        monkeypatch.setenv(name, "")
        assert conf.get(name) == ""
        assert conf.is_set(name)

    def test_lists_and_mappings_are_not_shared_between_callers(self):
        for name in ("ADMINS", "MAILERS"):
            conf.get(name).clear() if conf.get(name) else None
            assert conf.get(name) is not conf.get(name)
        conf.configure(ADMINS=["ann@example.org"])
        conf.get("ADMINS").append("eve@example.org")
        assert conf.get("ADMINS") == ["ann@example.org"]

    def test_a_value_that_is_equal_to_the_last_one_and_no_value_here_is_told(self):
        conf.configure(MAILQUEUE_BATCH_MESSAGES=1)
        assert conf.get("MAILQUEUE_BATCH_MESSAGES") == 1
        conf._configured = {"MAILQUEUE_BATCH_MESSAGES": True}
        assert "no whole number" in problem("MAILQUEUE_BATCH_MESSAGES")

    def test_the_ledger_follows_the_broker(self, monkeypatch):
        for host in ("one", "two"):
            monkeypatch.setenv("MAILQUEUE_BROKER_URL", f"redis://{host}/0")
            assert conf.get("MAILQUEUE_LEDGER_URL") == f"redis://{host}/0"

    def test_an_unknown_name_is_told_with_the_nearest_known_one(self):
        assert problem("EMAIL_PROT") == "EMAIL_PROT is no setting; did you mean EMAIL_PORT?"
        with pytest.raises(ImproperlyConfigured, match="did you mean MAILERS"):
            conf.is_set("MAILER")

    def test_it_is_cheap_enough_for_every_mail(self, monkeypatch):
        monkeypatch.setenv("EMAIL_PORT", "587")
        names = ("EMAIL_PORT", "MAILQUEUE_DEADLINE", "EMAIL_BACKEND", "MAILERS")
        best = min(timeit.repeat(lambda: [conf.get(name) for name in names], number=500, repeat=5))
        assert best / 500 / len(names) < 50e-6  # s; about 2 us on a quiet machine, and never that of an import


class TestConfigure:
    def test_all_problems_are_told_at_once_and_nothing_is_set(self):
        with pytest.raises(ImproperlyConfigured) as caught:
            conf.configure(EMAIL_HOST="mail.example", EMAIL_PORT="smtp", MAILQUEUE_DEDLINE=3, EMAIL_USE_TLS="maybe")
        problems = "\n".join(caught.value.problems)
        assert len(caught.value.problems) == 3
        assert "MAILQUEUE_DEDLINE is no setting; did you mean MAILQUEUE_DEADLINE?" in problems
        assert "EMAIL_PORT (from configure()): 'smtp' is no whole number from 1 to 65535" in problems
        assert "EMAIL_USE_TLS (from configure()): 'maybe' is neither true nor false" in problems
        assert conf.get("EMAIL_HOST") == "localhost"

    def test_what_is_inside_a_value_is_left_to_its_users(self):
        # mail_admins() and MAILERS have exceptions of their own for these, which code may know from Django.
        conf.configure(ADMINS="ann@example.org", MAILERS={"default": "smtp"})
        assert conf.get("ADMINS") == "ann@example.org"
        assert conf.get("MAILERS") == {"default": "smtp"}

    def test_a_lazy_string_is_read_when_it_is_used(self):
        # As Django's lazy strings call themselves.
        lazy = type("__proxy__", (), {"__str__": lambda _: spoken[0]})()
        spoken = ["not ready"]
        conf.configure(EMAIL_SUBJECT_PREFIX=lazy)
        spoken[0] = "[hello] "
        assert conf.get("EMAIL_SUBJECT_PREFIX") == "[hello] "
        assert type(conf.get("EMAIL_SUBJECT_PREFIX")) is str


class TestKinds:
    @pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on", " on "])
    def test_true(self, text, monkeypatch):
        monkeypatch.setenv("EMAIL_USE_TLS", text)
        assert conf.get("EMAIL_USE_TLS") is True

    @pytest.mark.parametrize("text", ["0", "false", "False", "NO", "off"])
    def test_false(self, text, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_ON_COMMIT", text)
        assert conf.get("MAILQUEUE_ON_COMMIT") is False

    def test_neither_true_nor_false(self, monkeypatch):
        monkeypatch.setenv("EMAIL_USE_SSL", "2")
        assert problem("EMAIL_USE_SSL") == (
            "EMAIL_USE_SSL (from the environment): '2' is neither true nor false; use 1/0, true/false, yes/no or on/off"
        )

    @pytest.mark.parametrize("value", ["0", "-1", "65536", "25.5", "smtp", "1e999", "nan"])
    def test_a_port_is_a_whole_number_from_1_to_65535(self, value, monkeypatch):
        monkeypatch.setenv("EMAIL_PORT", value)
        assert "no whole number from 1 to 65535" in problem("EMAIL_PORT")

    @pytest.mark.parametrize("value", [True, None, "x", [], 0])
    def test_a_count_is_a_whole_number_of_one_or_more(self, value):
        if value is None:
            conf.configure(MAILQUEUE_BATCH_MESSAGES=value)
            assert conf.get("MAILQUEUE_BATCH_MESSAGES") == 100
            return
        with pytest.raises(ImproperlyConfigured, match="no whole number of 1 or more"):
            conf.configure(MAILQUEUE_BATCH_MESSAGES=value)

    @pytest.mark.parametrize(("text", "number"), [("30", 30), ("0.5", 0.5), ("1e3", 1000.0), (" 7 ", 7)])
    def test_durations_are_numbers_of_seconds(self, text, number, monkeypatch):
        monkeypatch.setenv("EMAIL_TIMEOUT", text)
        assert conf.get("EMAIL_TIMEOUT") == number

    @pytest.mark.parametrize("text", ["0", "-3", "2s", "inf", "nan", "true"])
    def test_a_duration_is_above_zero(self, text, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_DEADLINE", text)
        assert problem("MAILQUEUE_DEADLINE").startswith(f"MAILQUEUE_DEADLINE (from the environment): '{text}' is no")

    def test_a_choice_is_one_of_its_words(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_ON_UNKNOWN", "Hold")
        assert conf.get("MAILQUEUE_ON_UNKNOWN") == "hold"
        monkeypatch.setenv("MAILQUEUE_ON_UNKNOWN", "drop")
        assert problem("MAILQUEUE_ON_UNKNOWN").endswith("'drop' is not one of: resend, hold")

    @pytest.mark.parametrize("value", ["backend", "a..b", "a.b-c", "a b.c"])
    def test_a_dotted_path_has_a_module_and_a_class(self, value, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_DELIVERY_BACKEND", value)
        assert "is no dotted path; give package.module.Class" in problem("MAILQUEUE_DELIVERY_BACKEND")

    def test_text_is_kept_as_it_is(self, monkeypatch):
        monkeypatch.setenv("EMAIL_SUBJECT_PREFIX", "  [x] ")
        assert conf.get("EMAIL_SUBJECT_PREFIX") == "  [x] "

    @pytest.mark.parametrize("value", [5, b"bytes", True, ["x"], {}])
    def test_what_is_no_text_is_refused(self, value):
        with pytest.raises(ImproperlyConfigured, match="put it in quotes"):
            conf.configure(EMAIL_HOST=value)

    def test_paths_are_text_or_pathlike(self):
        conf.configure(EMAIL_FILE_PATH=pathlib.Path("mails"), EMAIL_SSL_CERTFILE="cert.pem")
        assert conf.get("EMAIL_FILE_PATH") == pathlib.Path("mails")
        assert conf.get("EMAIL_SSL_CERTFILE") == "cert.pem"
        with pytest.raises(ImproperlyConfigured, match="is no path"):
            conf.configure(EMAIL_FILE_PATH=5)

    @pytest.mark.parametrize("value", ["a{b}", "a b", "ü"])
    def test_a_key_prefix_has_no_braces_or_blanks(self, value):
        with pytest.raises(ImproperlyConfigured, match="is no prefix"):
            conf.configure(MAILQUEUE_KEY_PREFIX=value)

    @pytest.mark.parametrize("text", ["1, 2.5", "[1, 2.5]"])
    def test_delays_are_a_list_of_seconds(self, text, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_RETRY_DELAYS", text)
        assert conf.get("MAILQUEUE_RETRY_DELAYS") == (1, 2.5)
        conf.configure(MAILQUEUE_RETRY_DELAYS=[5])
        assert conf.get("MAILQUEUE_RETRY_DELAYS") == (5,)

    @pytest.mark.parametrize("text", ["[]", "[0]", '["soon"]', '{"a": 1}', "1;2"])
    def test_a_delay_is_a_number_above_zero(self, text, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_RETRY_DELAYS", text)
        assert problem("MAILQUEUE_RETRY_DELAYS").startswith("MAILQUEUE_RETRY_DELAYS (from the environment): ")


class TestStructured:
    def test_json_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("ADMINS", '[["Ann", "ann@example.org"], "bob@example.org"]')
        assert conf.get("ADMINS") == [("Ann", "ann@example.org"), "bob@example.org"]

    def test_a_syntax_error_is_told_with_its_position(self, monkeypatch):
        monkeypatch.setenv("MAILERS", '{"default":\n {"BACKEND": oops}}')
        assert problem("MAILERS") == (
            "MAILERS (from the environment): it is no JSON (expecting value at line 2, column 14)"
        )

    def test_the_shape_of_people_is_left_to_those_who_write_to_them(self, override_settings):
        with override_settings(ADMINS="ann@example.org"):
            assert conf.get("ADMINS") == "ann@example.org"

    def test_mailers_map_aliases(self, monkeypatch):
        monkeypatch.setenv("MAILERS", '{"x": {"BACKEND": "a.B", "OPTIONS": {"host": "h"}}}')
        assert conf.get("MAILERS") == {"x": {"BACKEND": "a.B", "OPTIONS": {"host": "h"}}}
        monkeypatch.setenv("MAILERS", "[1]")
        assert "must map aliases" in problem("MAILERS")

    def test_objects_in_options_come_through_as_they_are(self):
        stream = object()
        conf.configure(MAILERS={"x": {"BACKEND": "a.B", "OPTIONS": {"stream": stream}}})
        assert conf.get("MAILERS")["x"]["OPTIONS"]["stream"] is stream

    def test_defined_and_empty_is_not_undefined(self):
        assert not conf.is_set("MAILERS")
        conf.configure(MAILERS={})
        assert conf.is_set("MAILERS")
        assert conf.get("MAILERS") == {}

    def test_options_of_relays_are_known_ones(self):
        conf.configure(MAILQUEUE_RELAYS={"ses": {"max_messages": 4}})
        assert conf.get("MAILQUEUE_RELAYS") == {"ses": {"max_messages": 4}}
        with pytest.raises(ImproperlyConfigured, match="no option 'max_message'; did you mean max_messages"):
            conf.configure(MAILQUEUE_RELAYS={"ses": {"max_message": 4}})
        with pytest.raises(ImproperlyConfigured, match="must map each relay to options: idle_seconds"):
            conf.configure(MAILQUEUE_RELAYS={"ses": 4})
        with pytest.raises(ImproperlyConfigured, match="max_age of the relay 'ses': 0 is no number above 0"):
            conf.configure(MAILQUEUE_RELAYS={"ses": {"max_age": 0}})
        with pytest.raises(
            ImproperlyConfigured, match="connections of the relay 'ses': 65 is no whole number from 1 to 64"
        ):
            conf.configure(MAILQUEUE_RELAYS={"ses": {"connections": 65}})
        with pytest.raises(
            ImproperlyConfigured, match="window of the relay 'ses': 0 is no whole number from 1 to 1000"
        ):
            conf.configure(MAILQUEUE_RELAYS={"ses": {"window": 0}})

    def test_options_of_lanes_are_known_ones_and_so_are_the_lanes(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_LANES", '{"urgent": {"retry_delays": [1, 2], "on_unknown": "Hold"}}')
        assert conf.get("MAILQUEUE_LANES") == {"urgent": {"retry_delays": (1, 2), "on_unknown": "hold"}}
        with pytest.raises(ImproperlyConfigured, match="no lane 'fast'; use urgent, default, bulk"):
            conf.configure(MAILQUEUE_LANES={"fast": {}})
        with pytest.raises(ImproperlyConfigured, match="the lane 'bulk' has no option 'timeout'"):
            conf.configure(MAILQUEUE_LANES={"bulk": {"timeout": 3}})


class TestLedgerUrl:
    def test_it_is_the_brokers_if_that_is_redis(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_BROKER_URL", "redis://db.example/3")
        assert conf.get("MAILQUEUE_LEDGER_URL") == "redis://db.example/3"
        monkeypatch.setenv("MAILQUEUE_LEDGER_URL", "redis://other.example/0")
        assert conf.get("MAILQUEUE_LEDGER_URL") == "redis://other.example/0"

    def test_another_broker_needs_one_of_its_own(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_BROKER_URL", "amqp://guest:hunter2@mq.example//")
        assert problem("MAILQUEUE_LEDGER_URL") == (
            "MAILQUEUE_LEDGER_URL is not set, and the broker (amqp://) cannot hold the ledger; "
            "set it to a Redis or Valkey, such as redis://localhost:6379/0"
        )
        monkeypatch.setenv("MAILQUEUE_LEDGER_URL", "amqp://mq.example//")
        assert "its scheme amqp:// is not one of redis://, rediss://" in problem("MAILQUEUE_LEDGER_URL")

    def test_a_socket_and_certificates_are_spelt_for_each_library(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_BROKER_URL", "unix:///run/valkey.sock?db=2")
        assert conf.get("MAILQUEUE_BROKER_URL") == "redis+socket:///run/valkey.sock?virtual_host=2"
        assert conf.get("MAILQUEUE_LEDGER_URL") == "unix:///run/valkey.sock?db=2"
        monkeypatch.setenv("MAILQUEUE_BROKER_URL", "rediss://db.example:6380/0")
        assert conf.get("MAILQUEUE_BROKER_URL") == "rediss://db.example:6380/0?ssl_cert_reqs=required"
        assert conf.get("MAILQUEUE_LEDGER_URL") == "rediss://db.example:6380/0?ssl_cert_reqs=required"

    def test_the_brokers_own_problem_is_told_instead(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_BROKER_URL", "reddis://localhost")
        assert problem("MAILQUEUE_LEDGER_URL").startswith("MAILQUEUE_BROKER_URL (from the environment)")


def test_the_clean_settings_fixture_knows_every_setting():
    """Otherwise a developer's shell would change what tests see."""
    from mailqueue.testing.environment import is_setting  # noqa: PLC0415

    assert all(is_setting(setting.name) for setting in conf.SETTINGS)
    assert not [name for name in os.environ if is_setting(name)]
