"""The name of this host: a slow resolver holds nobody up."""

from __future__ import annotations

import socket
import threading

import pytest

from mailqueue.mail import utils
from mailqueue.mail.utils import CachedDnsName


@pytest.fixture
def resolver(monkeypatch):
    """One that answers when it is told to."""
    answer = threading.Event()

    def getfqdn():
        answer.wait(30)
        return "host.example.com"

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    monkeypatch.setattr(socket, "gethostname", lambda: "host")
    monkeypatch.setattr(utils, "PATIENCE", 0.01)
    yield answer
    answer.set()
    for thread in threading.enumerate():
        if thread.name == utils.THREAD:
            thread.join(10)


def test_a_slow_resolver_costs_the_name_its_domain_and_the_caller_little(resolver):
    name = CachedDnsName()
    assert name.get_fqdn() == "host"
    resolver.set()


def test_it_is_waited_for_once(resolver):
    name = CachedDnsName()
    name.get_fqdn()
    utils.PATIENCE = 30
    assert str(name) == "host"


def test_what_it_says_at_last_is_used_from_then_on(resolver):
    name = CachedDnsName()
    name.get_fqdn()
    [thread] = [thread for thread in threading.enumerate() if thread.name == utils.THREAD]
    resolver.set()
    thread.join(10)
    assert name.get_fqdn() == "host.example.com"


def test_a_host_name_that_is_no_domain_gives_way_to_one_that_is(resolver, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "x" * 64)
    assert CachedDnsName().get_fqdn() == "localhost"


def test_a_name_that_has_no_ascii_form_is_told_as_ever(monkeypatch):
    monkeypatch.setattr(socket, "getfqdn", lambda: "é" * 64)
    with pytest.raises(UnicodeError):
        CachedDnsName().get_fqdn()
