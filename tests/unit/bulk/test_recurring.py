"""Campaigns that recur: each due moment starts one, whoever looks, and whoever dies on the way."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mailqueue import bulk
from mailqueue.bulk import CampaignState, Template
from mailqueue.errors import InvalidMessage, LedgerUnavailable, MailerDoesNotExist
from mailqueue.testing import MemoryQueue
from workers.rota import Rota

TEMPLATE = Template(subject="Hello {{ name }}", text="Dear {{ name }}", from_email="shop@example.org")
PEOPLE = [(f"p{n}@example.com", {"name": f"P{n}"}) for n in range(450)]


@pytest.fixture
def queue():
    with MemoryQueue() as queue:
        yield queue


@pytest.fixture
def application(monkeypatch):
    """The application's module, which gives recipients."""
    module = SimpleNamespace(people=lambda: PEOPLE[:3])
    monkeypatch.setitem(sys.modules, "application", module)
    return module


def every_hour(**options):
    return bulk.schedule(
        "digest",
        "0 * * * *",
        **{"time_zone": "UTC", "template": TEMPLATE, "recipients": "application.people", **options},
    )


def ids():
    return sorted(campaign.id for campaign in bulk.campaigns())


def until(queue, moment, seconds=1.0):
    """Let time pass until so many seconds after ``moment``, without any worker."""
    queue._pass(moment.timestamp() + seconds - queue.now())


def first_moment():
    (schedule,) = bulk.schedules()
    return schedule.next_at


def test_a_schedule_is_told_with_its_next_moment(queue):
    made = every_hour(time_zone="Europe/Berlin", catch_up="once")
    assert made == bulk.schedules()[0]
    assert (made.name, made.crontab, made.time_zone, made.catch_up) == ("digest", "0 * * * *", "Europe/Berlin", "once")
    assert made.next_at.minute == 0
    assert timedelta() < made.next_at - datetime.now(UTC) <= timedelta(hours=1)
    assert made.next_at.tzinfo.key == "Europe/Berlin"


def test_a_campaign_is_started_at_each_moment(queue, application):
    first = every_hour(list="").next_at
    queue.run(2 * 3600)
    assert ids() == [f"digest-{first + timedelta(hours=n):%Y%m%dt%H%Mz}" for n in range(2)]
    assert Counter(message.to[0] for message in queue.outbox) == dict.fromkeys([a for a, _ in PEOPLE[:3]], 2)


def test_given_again_it_stays_and_given_otherwise_it_changes(queue):
    every_hour()
    every_hour()
    assert len(bulk.schedules()) == 1
    every_hour(time_zone="Europe/Berlin")
    assert [schedule.time_zone for schedule in bulk.schedules()] == ["Europe/Berlin"]


def test_what_is_taken_off_starts_no_more(queue, application):
    every_hour()
    assert bulk.unschedule("digest")
    assert not bulk.unschedule("digest")
    queue.run(7200)
    assert ids() == []


def test_recipients_and_template_may_be_files_that_are_read_each_time(queue, tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("email,name\nann@example.com,Ann\n")
    every_hour(recipients=str(people))
    queue.run(3600)
    people.write_text("email,name\nbob@example.com,Bob\n")
    queue.run(3600)
    assert [message.to[0] for message in queue.outbox] == ["ann@example.com", "bob@example.com"]


def test_two_workers_start_it_once(queue, application):
    moment = every_hour().next_at
    workers = [Rota(queue.ledger, name, clock=queue.now) for name in ("w1", "w2")]
    until(queue, moment)
    assert [worker.once() for worker in workers * 2] == [1, 0, 0, 0]
    assert len(ids()) == 1


class Dying(BaseException):
    """No Exception: as by kill -9."""


def test_another_worker_goes_on_where_the_first_has_died_while_it_loaded(queue, application):
    def people():
        yield from PEOPLE
        raise Dying

    moment = every_hour().next_at
    application.people = people
    until(queue, moment)
    with pytest.raises(Dying):
        Rota(queue.ledger, "w1", clock=queue.now).once()
    (campaign,) = bulk.campaigns()
    assert (campaign.state, campaign.total) == (CampaignState.LOADING, 400)
    application.people = lambda: iter(PEOPLE)
    second = Rota(queue.ledger, "w2", clock=queue.now)
    assert second.once() == 0  # the lease stands
    queue._pass(31)
    assert second.once() == 1
    (campaign,) = bulk.campaigns()
    assert (campaign.id, campaign.state, campaign.total) == (
        f"digest-{moment:%Y%m%dt%H%Mz}",
        CampaignState.RUNNING,
        450,
    )
    queue.run(10)
    assert Counter(message.to[0] for message in queue.outbox) == dict.fromkeys([a for a, _ in PEOPLE], 1)


@pytest.mark.parametrize(("catch_up", "started"), [("skip", 0), ("once", 1)])
def test_after_an_outage_it_does_as_it_was_told(queue, application, catch_up, started):
    first = every_hour(catch_up=catch_up).next_at
    until(queue, first, 5.5 * 3600)
    queue.run(1)
    assert ids() == [f"digest-{first + timedelta(hours=5):%Y%m%dt%H%Mz}"] * started
    assert first_moment() == first + timedelta(hours=6)


def test_a_mistake_costs_one_time_and_no_more(queue, application, caplog):
    application.people = lambda: [("nobody", {})]
    every_hour()
    queue.run(3600)
    assert queue.outbox == []
    assert "action=schedule_failed schedule=digest reason=row 1 of the recipients cannot be used" in caplog.text
    assert "nobody" not in caplog.text
    application.people = lambda: PEOPLE[:1]
    queue.run(3600)
    assert len(queue.outbox) == 1


def test_what_the_application_cannot_give_just_now_is_asked_for_again(queue, application):
    calls = []

    def people():
        calls.append(queue.now())
        if len(calls) == 1:
            raise ConnectionResetError("the database is away")
        return PEOPLE[:1]

    application.people = people
    until(queue, every_hour().next_at, -1)
    queue.run(120)
    assert len(queue.outbox) == 1
    assert calls[1] - calls[0] >= 30  # the lease, after which another worker tries


def test_one_that_cannot_be_started_keeps_no_other_from_its_time(queue, application, caplog):
    def nobody():
        raise ConnectionResetError("the database is away")

    application.nobody = nobody
    moment = every_hour().next_at
    bulk.schedule("broken", "0 * * * *", time_zone="UTC", template=TEMPLATE, recipients="application.nobody")
    rota = Rota(queue.ledger, "w1", clock=queue.now)
    until(queue, moment)
    assert sum(rota.once() for _ in range(4)) == 1
    assert ids() == [f"digest-{moment:%Y%m%dt%H%Mz}"]
    assert caplog.text.count("action=schedule_failed schedule=broken") == 1
    until(queue, moment, 62)
    rota.once()
    assert caplog.text.count("action=schedule_failed schedule=broken") == 2


def test_while_the_store_is_away_nothing_is_lost(queue, application):
    moment = every_hour().next_at
    rota = Rota(queue.ledger, "w1", clock=queue.now)
    until(queue, moment)
    with queue.outage(), pytest.raises(LedgerUnavailable):
        rota.once()
    assert rota.once() == 1


def test_what_comes_too_late_expires(queue, application):
    until(queue, every_hour(expires_in=timedelta(minutes=30), catch_up="once").next_at, 2400)
    queue.run(5)
    assert queue.outbox == []
    assert [campaign.state for campaign in bulk.campaigns()] == [CampaignState.EXPIRED]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crontab": "0 9 * *"}, "4 fields"),
        ({"time_zone": "Mars/Base"}, "no time zone"),
        ({"name": "Weekly News"}, "name of a schedule"),
        ({"name": "x" * 25}, "name of a schedule"),
        ({"catch_up": "all"}, "catch_up"),
        ({"expires_in": timedelta()}, "nothing would ever be sent"),
        ({"recipients": "everybody"}, "neither a file"),
        ({"quiet": "at night"}, "quiet hours"),
        ({"list": "My List"}, "list"),
    ],
)
def test_what_cannot_be_is_told_at_once(queue, options, words):
    given = {"name": "digest", "crontab": "0 9 * * *", "time_zone": "UTC", "recipients": "application.people"}
    with pytest.raises(InvalidMessage, match=words):
        bulk.schedule(template=TEMPLATE, **(given | options))
    with pytest.raises(MailerDoesNotExist):
        bulk.schedule(template=TEMPLATE, using="nowhere", **given)
    assert bulk.schedules() == []
