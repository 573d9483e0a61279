"""Settings for the time of a block."""

from __future__ import annotations

import pytest

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured


def test_settings_hold_inside_the_block_alone():
    conf.configure(EMAIL_HOST="relay.example.com", EMAIL_PORT=587)
    with conf.override(EMAIL_HOST="127.0.0.1"):
        assert (conf.get("EMAIL_HOST"), conf.get("EMAIL_PORT")) == ("127.0.0.1", 587)
    assert conf.get("EMAIL_HOST") == "relay.example.com"


def test_what_is_configured_inside_is_forgotten_with_it():
    with conf.override():
        conf.configure(EMAIL_PORT=2525)
        with conf.override(EMAIL_PORT=2626):
            assert conf.get("EMAIL_PORT") == 2626
        assert conf.get("EMAIL_PORT") == 2525
    assert not conf.is_set("EMAIL_PORT")


def test_an_exception_ends_it_as_well():
    with pytest.raises(ZeroDivisionError), conf.override(EMAIL_PORT=2525):
        raise ZeroDivisionError
    assert not conf.is_set("EMAIL_PORT")


def test_a_misspelt_name_sets_nothing():
    with pytest.raises(ImproperlyConfigured, match="did you mean EMAIL_PORT"), conf.override(EMAIL_PROT=25):
        pytest.fail("it was entered")
