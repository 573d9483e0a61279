"""Mail through a relay with limits: in portions as permits come in, the rest put off, nobody in each other's way."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from mailqueue import conf
from mailqueue.errors import RelayTrouble
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.outcome import Ending, Result, Verdict
from mailqueue.rate import Limits
from mailqueue.smtp.reply import Reply
from workers.drain import drain


def mails(count, domain="a.example", **more):
    return [EmailMessage(f"{domain} {n}", "Body", "app@example.com", [f"ann@{domain}"], **more) for n in range(count)]


@pytest.fixture(autouse=True)
def relay(request):
    """What MAILQUEUE_RELAYS has for the default relay: ``@pytest.mark.parametrize("relay", [{...}], indirect=True)``."""
    options = getattr(request, "param", {})
    conf.configure(MAILQUEUE_RELAYS={"default": options} if options else {})


def with_limits(**options):
    """Settings of the default relay for one test."""
    return pytest.mark.parametrize("relay", [pytest.param(options, id=",".join(options))], indirect=True)


@pytest.fixture
def clock(process, monkeypatch):
    """The time of the ledger and of the pace, which a sleep moves."""

    class Clock:
        now = time.time()
        slept = 0.0

        def sleep(self, seconds):
            self.now += seconds
            self.slept += seconds

    clock = Clock()
    monkeypatch.setattr(process.ledger, "_clock", lambda: clock.now)
    monkeypatch.setattr(process.pace, "_clock", lambda: clock.now)
    monkeypatch.setattr(process, "sleep", clock.sleep)
    return clock


def states(process, parcel):
    return Counter(process.ledger.get(message_id).state for message_id, _ in parcel.items)


def due_in(process, parcel, clock):
    entries = [process.ledger.get(message_id) for message_id, _ in parcel.items]
    return [entry.due_at - clock.now for entry in entries if entry.state is State.DEFERRED]


def spy(process, monkeypatch, name):
    calls = []
    call = getattr(process.ledger.rates, name)

    def spied(*args, **more):
        calls.append((args, more))
        return call(*args, **more)

    monkeypatch.setattr(process.ledger.rates, name, spied)
    return calls


def test_without_limits_a_batch_costs_no_call(process, queue, monkeypatch, backend):
    process.pace.is_limited("")
    calls = [spy(process, monkeypatch, name) for name in ("take", "give_back", "leave", "limited", "slow_down")]
    drain(queue(*mails(20)), process)
    assert len(backend.sent) == 20
    assert calls == [[]] * 5


@with_limits(rates="10/s")
def test_a_batch_goes_out_at_the_relays_rate(process, queue, clock, backend):
    parcel = queue(*mails(30))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 30}
    assert 2.75 <= clock.slept <= 3.0


@with_limits(rates="1000/s", domains={"slow.example": "1/s"})
def test_messages_of_a_limited_domain_do_not_block_the_others(process, queue, clock, backend):
    parcel = queue(*mails(10, "slow.example"), *mails(30))
    drain(parcel, process)
    assert [subject.split()[0] for subject, _ in backend.sent[:31]] == ["slow.example"] + ["a.example"] * 30
    assert clock.slept < 1.1
    found = states(process, parcel)
    assert found[State.SENT] + found[State.DEFERRED] == 40
    assert found[State.DEFERRED] in (8, 9)
    due = due_in(process, parcel, clock)
    assert due == sorted(due)
    assert -1 <= due[0] <= 1  # from before the wait
    assert 4 <= due[-1] <= 9


@with_limits(domains={"*": "1/min"})
def test_what_is_put_off_for_many_domains_is_one_line_of_the_log(process, queue, clock, backend, caplog):
    mail = [message for number in range(20) for message in mails(3, f"d{number}.example")]
    with caplog.at_level("INFO"):
        drain(queue(*mail), process)
    assert caplog.text.count("action=put_off") == 1
    assert "action=put_off relay=default messages=40 domains=20" in caplog.text


@with_limits(rates="100/h")
def test_what_would_wait_for_long_is_put_off_at_no_charge(process, queue, clock, backend):
    parcel = queue(*mails(120))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 95, State.DEFERRED: 25}  # 5 % are kept for urgent mail
    assert clock.slept == 0
    for message_id, _ in parcel.items[95:]:
        entry = process.ledger.get(message_id)
        assert (entry.attempts, entry.reason) == (0, "waits for a limit")
    assert all(450 <= due <= 900 for due in due_in(process, parcel, clock))


@with_limits(rates="1/h", max_age=5)
def test_the_wait_ends_no_message_by_its_age(process, queue, clock, backend, monkeypatch):
    parcel = queue(*mails(3))
    monkeypatch.setattr(process, "now", lambda: time.time() + 3600)
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 1, State.DEFERRED: 2}


@with_limits(rates="10/s")
def test_urgent_mail_interrupts_the_wait(process, queue, clock, backend, tap, monkeypatch):
    lane = "bulk"
    parcel = queue(*mails(50), lane=lane)
    monkeypatch.setattr(process, "sleep", lambda seconds: (clock.sleep(seconds), tap.full.add("urgent")))
    monkeypatch.setattr("workers.lookout.LOOK_EVERY", 0.0)
    drain(parcel, process)
    assert clock.slept < 0.2
    assert states(process, parcel)[State.DEFERRED] >= 45


@with_limits(rates="10/s")
def test_a_shutdown_ends_the_wait(process, queue, clock, backend, stop, monkeypatch):
    parcel = queue(*mails(50))
    monkeypatch.setattr(process, "sleep", lambda _seconds: stop.set())
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 2, State.DEFERRED: 48}


@with_limits(rates="10/s")
def test_an_urgent_lane_goes_ahead(process, queue, clock, backend):
    drain(queue(*mails(2), lane="bulk"), process)
    drain(queue(*mails(10), lane="urgent"), process)
    assert clock.slept == 0
    assert len(backend.sent) == 12


@with_limits(rates="20/s", retry_delays=[60])
def test_permits_of_what_was_not_sent_are_given_back(process, queue, clock, backend, monkeypatch):
    given = spy(process, monkeypatch, "give_back")
    backend.script = [RelayTrouble("refused", stage="connect")]
    parcel = queue(*mails(8))
    drain(parcel, process)
    assert given[0][0] == ("", {"a.example": 3})
    assert states(process, parcel) == {State.DEFERRED: 8}


@with_limits(rates="100/s")
def test_relay_trouble_gives_all_of_it_back(process, queue, clock, backend):
    backend.script = [RelayTrouble("refused", stage="connect")]
    parcel = queue(*mails(30))
    drain(parcel, process)
    assert states(process, parcel) == {State.DEFERRED: 30}
    assert process.relays.wait("") > 0


@with_limits(domains={"a.example": "1 connection"})
def test_a_domain_with_one_connection_is_sent_to_by_one_owner(process, queue, clock, backend):
    asked = Limits.parse("a.example 1 connection")
    process.ledger.rates.take("", {"a.example": 1}, limits=asked, owner="another")
    parcel = queue(*mails(3), *mails(3, "b.example"))
    drain(parcel, process)
    assert [subject for subject, _ in backend.sent] == [f"b.example {n}" for n in range(3)]
    process.ledger.rates.leave("", "another")
    again = queue(*mails(3))
    drain(again, process)
    assert states(process, again) == {State.SENT: 3}
    assert process.ledger.rates.take("", {"a.example": 1}, limits=asked, owner="third").granted == {"a.example": 1}


@with_limits(rates="100/s", connections=4, domains={"a.example": "1 connection"})
def test_what_shares_one_connection_goes_over_one(process, queue, clock, backend, monkeypatch):
    counts = []
    monkeypatch.setattr(
        "workers.deliver.Lines", lambda *_: type("L", (), {"work": lambda _s, n, _e: counts.append(n)})()
    )
    drain(queue(*mails(3), *mails(3, "b.example")), process)
    assert counts == [3]
    assert len(backend.sent) == 6


def test_a_domain_that_asks_for_less_is_slowed_and_the_others_go_on(process, queue, clock, backend):
    slow = Result(Verdict.DEFERRED, Reply(421, "4.7.28 rate limited"))
    backend.answers["ann@slow.example"] = slow
    parcel = queue(*mails(2, "slow.example"), *mails(20))
    drain(parcel, process)
    assert process.ledger.rates.states()[""].domains["slow.example"].slowed
    backend.sent.clear()
    backend.answers.clear()
    parcel = queue(*mails(50, "slow.example"), *mails(50))
    drain(parcel, process)
    sent = Counter(subject.split()[0] for subject, _ in backend.sent)
    assert sent["a.example"] == 50
    assert sent["slow.example"] <= 2
    assert states(process, parcel)[State.DEFERRED] >= 48


def test_a_limit_set_by_hand_holds_within_2_s_and_a_changed_one_at_once(process, queue, clock, backend):
    drain(queue(*mails(10)), process)
    assert clock.slept == 0
    process.ledger.rates.override("", "10/s")
    clock.now += 2
    drain(queue(*mails(12)), process)
    assert 0.9 <= clock.slept <= 1.1
    process.ledger.rates.override("", "1000/s")
    drain(queue(*mails(50)), process)
    assert clock.slept <= 1.1


@with_limits(rates="10/s")
def test_a_message_for_many_counts_once_for_its_first_recipient(process, queue, clock, backend, monkeypatch):
    taken = spy(process, monkeypatch, "take")
    message = EmailMessage("s", "b", "app@example.com", ["ann@A.example", "bob@b.example", "eve@c.example"])
    drain(queue(message), process)
    assert taken[0][0] == ("", {"a.example": 1})
    assert len(taken) == 1


@with_limits(rates="10/s")
def test_who_was_given_back_by_the_keeper_is_not_waited_for(process, queue, clock, backend, monkeypatch):
    parcel = queue(*mails(20))
    ids = [message_id for message_id, _ in parcel.items]

    def sleep(seconds):
        clock.sleep(seconds)
        (batch,) = process.keeper._batches
        waiting = [each for each in batch.waiting() if each in ids[10:]]
        process.ledger.release(waiting, batch.token)
        batch.given_back(waiting)

    monkeypatch.setattr(process, "sleep", sleep)
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 10, State.DEFERRED: 10}
    assert clock.slept < 1


@with_limits(rates="10/s")
def test_unknown_answers_use_their_permits(process, queue, clock, backend):
    backend.script = [Ending.UNKNOWN]
    parcel = queue(*mails(3))
    drain(parcel, process)
    assert states(process, parcel)[State.SENT] == 2
