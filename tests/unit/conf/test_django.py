"""Django's settings as a source: what is set explicitly counts, as it is now."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mailqueue import conf
from mailqueue.conf import django as source
from mailqueue.errors import ImproperlyConfigured
from mailqueue.testing.environment import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.usefixtures("django_settings"),
    pytest.mark.filterwarnings("ignore:The EMAIL_"),  # Django 6.1, about the settings that these tests set
]


def test_djangos_defaults_do_not_count(monkeypatch):
    assert conf.get("EMAIL_BACKEND") == conf.QUEUE_BACKEND  # Django's is the SMTP backend
    monkeypatch.setenv("EMAIL_HOST", "mail.example")
    assert conf.get("EMAIL_HOST") == "mail.example"


def test_what_is_set_explicitly_wins_over_the_environment(monkeypatch, override_settings):
    monkeypatch.setenv("EMAIL_HOST", "environment.example")
    with override_settings(EMAIL_HOST="django.example", MAILQUEUE_DEADLINE=7):
        assert conf.get("EMAIL_HOST") == "django.example"
        assert conf.get("MAILQUEUE_DEADLINE") == 7
        assert conf.is_set("MAILQUEUE_DEADLINE")
    assert conf.get("EMAIL_HOST") == "environment.example"
    assert conf.get("MAILQUEUE_DEADLINE") == 2


def test_configure_wins_over_django(override_settings):
    conf.configure(EMAIL_HOST="code.example")
    with override_settings(EMAIL_HOST="django.example"):
        assert conf.get("EMAIL_HOST") == "code.example"


def test_a_setting_that_is_deleted_for_a_test_counts_as_unset(override_settings, django_settings):
    with override_settings(EMAIL_HOST="django.example"):
        del django_settings.EMAIL_HOST
        assert conf.get("EMAIL_HOST") == "localhost"


def test_none_from_django_is_a_value_where_it_means_something(monkeypatch, override_settings):
    monkeypatch.setenv("EMAIL_TIMEOUT", "3")
    with override_settings(EMAIL_TIMEOUT=None, EMAIL_HOST_PASSWORD=None, EMAIL_USE_TLS=None):
        assert conf.get("EMAIL_TIMEOUT") is None
        assert conf.get("EMAIL_HOST_PASSWORD") == ""  # as from os.environ.get() in a settings file
        assert conf.get("EMAIL_USE_TLS") is False


def test_lazy_strings_become_text(override_settings):
    functional = pytest.importorskip("django.utils.functional")
    lazy = functional.lazy(lambda: "[lazy] ", str)()
    with override_settings(EMAIL_SUBJECT_PREFIX=lazy):
        assert type(conf.get("EMAIL_SUBJECT_PREFIX")) is str
        assert conf.get("EMAIL_SUBJECT_PREFIX") == "[lazy] "


def test_secrets_from_django_are_hidden(override_settings):
    with override_settings(EMAIL_HOST_PASSWORD="hunter2"):
        assert conf.get("EMAIL_HOST_PASSWORD") == "hunter2"
        assert "hunter2" not in repr(conf.get("EMAIL_HOST_PASSWORD"))


def test_a_bad_value_is_told_with_its_source(override_settings):
    with override_settings(EMAIL_PORT="smtp"), pytest.raises(ImproperlyConfigured, match="from Django's settings"):
        conf.get("EMAIL_PORT")


def test_a_misspelt_name_is_found(override_settings):
    with override_settings(MAILQUEUE_DEDLINE=3), pytest.raises(ImproperlyConfigured) as caught:
        conf.check()
    assert caught.value.problems == (
        "MAILQUEUE_DEDLINE (from Django's settings) is no setting; did you mean MAILQUEUE_DEADLINE?",
    )


class TestMailers:
    """Django 6.1: with MAILERS defined, reading a setting that it replaces is an error."""

    def test_the_settings_that_it_replaces_are_not_read(self, override_settings):
        everything = {name: object() for name in conf.REPLACED_BY_MAILERS}
        with override_settings(MAILERS={}, **everything):
            for name in conf.REPLACED_BY_MAILERS:
                assert source.explicit(name) is source.UNSET
                assert not conf.is_set(name)

    def test_the_others_are(self, override_settings):
        with override_settings(MAILERS={}, EMAIL_SUBJECT_PREFIX="[x] ", EMAIL_USE_LOCALTIME=True):
            assert conf.get("EMAIL_SUBJECT_PREFIX") == "[x] "
            assert conf.get("EMAIL_USE_LOCALTIME") is True
            assert conf.get("MAILERS") == {}
            assert conf.is_set("MAILERS")

    def test_django_is_not_asked_through_its_warning_door(self, monkeypatch, override_settings):
        """Django 6.1 raises from ``settings.EMAIL_HOST`` with MAILERS, and warns without."""
        cls = type(sys.modules["django.conf"].settings)
        original = cls.__getattr__

        def strict(self, name):
            assert not name.startswith("EMAIL_"), name
            return original(self, name)

        with override_settings(EMAIL_HOST="django.example"), monkeypatch.context() as patch:
            patch.setattr(cls, "__getattr__", strict)
            assert conf.get("EMAIL_HOST") == "django.example"
            conf.check("producer")


def run(code: str, path: Path, **environment: str) -> str:
    paths = {"PYTHONPATH": os.pathsep.join([str(path), clean_environment()["PYTHONPATH"]])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**clean_environment(**environment), **paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


READ = "from mailqueue import conf; print(conf.get('SERVER_EMAIL'))"


def test_a_settings_module_is_loaded_when_a_setting_is_asked_for(tmp_path):
    (tmp_path / "site_settings.py").write_text("SERVER_EMAIL = 'root@module.example'\nSECRET_KEY = 'x'\n")
    assert run(READ, tmp_path, DJANGO_SETTINGS_MODULE="site_settings") == "root@module.example"


def test_without_django_its_variable_means_nothing(tmp_path):
    hide = "import sys; sys.modules['django'] = None; "
    assert run(hide + READ, tmp_path, DJANGO_SETTINGS_MODULE="site_settings") == "root@localhost"


def test_a_django_that_is_imported_but_not_configured_is_left_alone(tmp_path):
    code = "import django.conf; " + READ + "; assert not django.conf.settings.configured"
    assert run(code, tmp_path) == "root@localhost"


def test_a_settings_module_that_is_missing_is_djangos_to_tell(tmp_path):
    code = f"try:\n    exec({READ!r})\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    assert run(code, tmp_path, DJANGO_SETTINGS_MODULE="site_settings") == "site_settings"


def test_the_backend_of_djangos_test_runner_counts(tmp_path):
    """It is assigned to the settings, which do not call that overridden."""
    (tmp_path / "site_settings.py").write_text("SECRET_KEY = 'x'\n")
    code = """
import django
django.setup()
from django.test.utils import override_settings, setup_test_environment
from mailqueue import conf
print(conf.is_set("EMAIL_BACKEND"))
setup_test_environment()
print(conf.get("EMAIL_BACKEND"))
with override_settings(EMAIL_PORT=26):
    print(conf.get("EMAIL_BACKEND"))
"""
    locmem = "django.core.mail.backends.locmem.EmailBackend"
    told = run(code, tmp_path, DJANGO_SETTINGS_MODULE="site_settings")
    assert told.splitlines() == ["False", locmem, locmem]
