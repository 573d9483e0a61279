"""A ledger of each test's own in memory, and the command line in front of it."""

from __future__ import annotations

import uuid

import pytest
from click.testing import CliRunner

from mailqueue import bulk, conf, producer
from mailqueue.cli import main

TEMPLATE = bulk.Template(subject="{{ name }}, news", text="Dear {{ name }},\n\nnews.\n", from_email="news@shop.example")


@pytest.fixture(autouse=True)
def ledger(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    return lambda: producer.get_producer().ledger


@pytest.fixture
def run():
    def invoke(*arguments, text=""):
        return CliRunner().invoke(main, ["bulk", *map(str, arguments)], input=text, env={"COLUMNS": "200"})

    return invoke


@pytest.fixture
def spring(ledger):
    """A campaign that waits for workers."""

    def make(campaign="spring-news", count=3, **more):
        people = [(f"a{number}@example.com", {"name": f"N{number}"}) for number in range(count)]
        return bulk.send(TEMPLATE, people, campaign=campaign, **more)

    return make
