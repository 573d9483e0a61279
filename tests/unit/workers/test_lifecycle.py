from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from celery.worker import state

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable
from mailqueue.ledger.base import Checkup
from mailqueue.ledger.memory import MemoryLedger
from workers import install, lifecycle, process


@pytest.fixture
def shop(monkeypatch):
    """A project's own application, on RabbitMQ, that is to carry mail as well."""
    monkeypatch.setattr(lifecycle, "_connected", [])
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL="memory://lifecycle")
    app = Celery("shop", broker="amqp://localhost//", set_as_current=False)
    install(app)
    return app


def start(app, *queues):
    """What Celery tells before it makes a worker of ``app`` that is to serve ``queues``."""
    lifecycle._configure(instance=SimpleNamespace(app=app), options={"queues": list(queues)})


def mail_queues(app):
    return {name: queue.queue_arguments for name, queue in app.amqp.queues.items() if name.startswith("mailqueue.")}


def test_a_worker_knows_the_lanes_that_it_is_to_serve(shop):
    start(shop, "celery", "mailqueue.urgent", "mailqueue.bulk")
    quorum = {"x-queue-type": "quorum"}
    assert mail_queues(shop) == {"mailqueue.urgent": quorum, "mailqueue.bulk": quorum}


def test_one_that_serves_none_fetches_as_it_ever_did(shop):
    """Celery goes over to a prefetch for each queue as soon as an application has one quorum queue."""
    start(shop, "celery")
    assert mail_queues(shop) == {}


def test_a_queue_of_another_kind_stops_it_with_the_remedy(shop, monkeypatch, capsys):
    def declare(_publisher):
        raise ImproperlyConfigured("delete it")

    monkeypatch.setattr("mailqueue.publisher.Publisher.declare", declare)
    with pytest.raises(SystemExit) as caught:
        start(shop, "mailqueue.urgent")
    assert caught.value.code == 78
    assert "  - delete it\n" in capsys.readouterr().err


def test_the_workers_of_another_application_are_not_ours(shop):
    other = Celery("other", broker="memory://", set_as_current=False)
    start(other, "mailqueue.urgent")
    assert mail_queues(other) == {}


# -- the store


@pytest.fixture
def store(monkeypatch):
    """Lets a test say what the store's check-up finds; ``asked`` is whether it was to wait for its disk."""
    asked = []

    def says(answer):
        def check(_ledger, *, durable=False):
            asked.append(durable)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(MemoryLedger, "check", check)

    says.asked = asked
    return says


@pytest.fixture
def ready(shop, monkeypatch):
    """What Celery tells when a worker is ready; its rounds do nothing."""
    monkeypatch.setattr(
        lifecycle, "_make_rounds", lambda _this, admit: [SimpleNamespace(start=lambda: None, admit=admit)]
    )
    monkeypatch.setattr(lifecycle, "_rounds", {})
    monkeypatch.setattr(state, "should_stop", None)
    process.begin(shop, "celery@host")
    yield lambda: lifecycle._start(sender=SimpleNamespace(app=shop, hub=None))
    process.close()


def test_a_store_that_evicts_mail_stops_it_with_the_remedy(shop, store, capsys):
    store(Checkup(problems=("it evicts keys: set maxmemory-policy to noeviction",)))
    with pytest.raises(SystemExit) as caught:
        start(shop, "mailqueue.urgent")
    assert caught.value.code == 78
    assert "  - it evicts keys: set maxmemory-policy to noeviction\n" in capsys.readouterr().err


def test_one_that_was_away_is_judged_when_the_worker_is_ready(shop, store, ready, capsys):
    store(LedgerUnavailable("away"))
    start(shop, "mailqueue.urgent")
    store(Checkup(problems=("it evicts keys",)))
    with pytest.raises(SystemExit) as caught:
        ready()
    assert caught.value.code == 78
    assert "it evicts keys" in capsys.readouterr().err


def test_one_that_is_still_away_is_waited_for(store, ready, caplog):
    store(LedgerUnavailable("away"))
    ready()
    assert "action=ledger_unavailable reason=away" in caplog.messages
    [[tick]] = lifecycle._rounds.values()
    with pytest.raises(LedgerUnavailable):
        tick.admit()
    store(Checkup(warnings=("it keeps no append-only file",)))
    assert tick.admit()
    assert "action=store_warning reason=it keeps no append-only file" in caplog.messages
    assert state.should_stop is None


def test_one_that_turns_out_unfit_when_it_is_back_stops_the_worker_with_one_line(shop, store, ready, caplog):
    store(LedgerUnavailable("away"))
    ready()
    caplog.clear()
    store(Checkup(problems=("it evicts keys", "it forgets")))
    [[tick]] = lifecycle._rounds.values()
    assert not tick.admit()
    assert caplog.messages == ["action=store_refused reason=it evicts keys; it forgets: the worker stops"]
    assert state.should_stop == 78
    assert process.current(shop).stopping


def test_one_that_was_judged_at_the_start_is_not_judged_again(store, ready):
    store(Checkup())
    ready()
    [[tick]] = lifecycle._rounds.values()
    assert tick.admit is None


def test_one_without_an_append_only_file_is_a_warning(shop, store, ready, caplog):
    store(Checkup(warnings=("it keeps no append-only file",)))
    start(shop, "mailqueue.urgent")
    ready()
    assert "action=store_warning reason=it keeps no append-only file" in caplog.messages
    assert len(lifecycle._rounds) == 1


@pytest.mark.parametrize(("durability", "asked"), [("default", False), ("always", True)])
def test_it_must_be_able_to_wait_for_its_disk_where_producers_will(shop, store, durability, asked):
    conf.configure(MAILQUEUE_DURABILITY=durability)
    store(Checkup())
    start(shop, "mailqueue.urgent")
    assert store.asked == [asked]
