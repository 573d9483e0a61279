"""Whether a variable is set: asked beneath os.environ where that can be, and true in any case."""

from __future__ import annotations

import os

import pytest

from mailqueue.conf import environment

NAME = "MAILQUEUE_TEST_OF_THE_ENVIRONMENT"


@pytest.fixture(params=["beneath", "another Python"])
def has(request, monkeypatch):
    if request.param != "beneath":
        monkeypatch.setattr(environment, "_beneath", None)
    return environment.has


def test_what_is_set_and_unset_is_seen_at_once(has, monkeypatch):
    assert not has(NAME)
    monkeypatch.setenv(NAME, "")
    assert has(NAME)
    monkeypatch.delenv(NAME)
    assert not has(NAME)


def test_an_environment_that_was_put_in_the_place_counts(has, monkeypatch):
    monkeypatch.setattr(os, "environ", {NAME: "1"})
    assert has(NAME)
    assert not has("PATH")


def test_this_python_has_something_beneath():
    assert environment._beneath is not None  # else each mail pays for a dozen exceptions
