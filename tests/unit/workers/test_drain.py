"""From a task to the ledger's record: claiming, draining, delivering, recording."""

from __future__ import annotations

import dataclasses
import itertools
import time

import pytest

from mailqueue import codec
from mailqueue.codec import Parcel
from mailqueue.envelope import Envelope, pack
from mailqueue.errors import RelayTrouble
from mailqueue.ledger.base import Settlement, Submission
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.mail.render import render
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.retry import RetryPolicy
from mailqueue.smtp.reply import Reply
from workers import unpacking
from workers.blobs import BlobCache
from workers.drain import drain
from workers.lookout import Lookout
from workers.relays import FIRST_PROBE

OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))


def mail(subject="Hello", *to):
    return EmailMessage(subject, "Body\n", "app@example.com", list(to) or ["ann@example.com"])


def entries(process, parcel):
    return [process.ledger.get(message_id) for message_id, _ in parcel.items]


def entry(process, parcel):
    [found] = entries(process, parcel)
    return found


# -- outcomes


def test_a_message_is_sent_and_recorded(process, backend, queue):
    parcel = queue(mail())
    drain(parcel, process)
    assert backend.sent == [("Hello", ("ann@example.com",))]
    found = entry(process, parcel)
    assert (found.state, found.attempts) == (State.SENT, 1)
    assert found.results["ann@example.com"].reply.code == 250


def test_two_accepted_and_one_refused_give_partial(process, backend, queue, gone):
    parcel = queue(mail("Hello", "a@x.org", "b@x.org", "c@x.org"))
    backend.answers["b@x.org"] = gone
    drain(parcel, process)
    found = entry(process, parcel)
    assert found.state is State.PARTIAL
    assert {a: r.verdict for a, r in found.results.items()} == {
        "a@x.org": Verdict.ACCEPTED,
        "b@x.org": Verdict.REFUSED,
        "c@x.org": Verdict.ACCEPTED,
    }
    assert found.reason == "550 5.1.1"


def test_all_refused_give_failed(process, backend, queue, gone):
    parcel = queue(mail("Hello", "a@x.org"))
    backend.answers["a@x.org"] = gone
    drain(parcel, process)
    assert entry(process, parcel).state is State.FAILED


def test_a_temporary_refusal_defers_by_the_policy(process, backend, queue, grey):
    parcel = queue(mail("Hello", "a@x.org", "b@x.org"))
    backend.answers["b@x.org"] = grey
    drain(parcel, process)
    found = entry(process, parcel)
    assert found.state is State.DEFERRED
    assert 59 <= found.due_at - found.updated_at <= 67
    assert found.results["a@x.org"].verdict is Verdict.ACCEPTED


def test_past_the_maximum_age_deferred_recipients_are_given_up(process, backend, queue, grey):
    process.policies.of = lambda _lane, _relay: RetryPolicy(max_age=0.0)
    parcel = queue(mail("Hello", "a@x.org", "b@x.org"))
    backend.answers["b@x.org"] = grey
    drain(parcel, process)
    found = entry(process, parcel)
    assert (found.state, found.reason) == (State.PARTIAL, "maximum age reached")
    assert found.results["b@x.org"].verdict is Verdict.REFUSED


def test_a_lost_answer_is_unknown_and_the_others_go_over_the_next_connection(process, backend, queue):
    parcel = queue(mail("one"), mail("two"), mail("three"))
    backend.script = [None, Ending.UNKNOWN]
    drain(parcel, process)
    one, two, three = entries(process, parcel)
    assert (one.state, three.state) == (State.SENT, State.SENT)
    assert two.unknowns == 1
    assert two.state is State.DEFERRED  # by its policy, resend
    assert backend.opened == 2


def test_an_unsent_message_is_sent_over_the_next_connection_at_no_charge(process, backend, queue):
    parcel = queue(mail("one"))
    backend.script = [Ending.UNSENT]
    drain(parcel, process)
    found = entry(process, parcel)
    assert (found.state, found.attempts, found.unknowns) == (State.SENT, 1, 0)
    assert backend.opened == 2


def test_what_is_sent_again_over_the_next_connection_is_rendered_once(process, backend, queue):
    parcel = queue(mail("one"))
    rendered = []
    backend.script = [
        lambda message: rendered.append(render(message)) or Ending.UNSENT,
        lambda message: rendered.append(render(message)),
    ]
    drain(parcel, process)
    first, again = rendered
    assert first is again


def test_a_message_that_keeps_costing_connections_is_deferred_and_the_others_are_sent(process, backend, queue):
    parcel = queue(mail("bad"), mail("good"))
    backend.script = [lambda m: Ending.UNSENT if m.subject == "bad" else None] * 10
    drain(parcel, process)
    bad, good = entries(process, parcel)
    assert (bad.state, bad.reason) == (State.DEFERRED, "451 4.4.2")
    assert good.state is State.SENT


CLOSING = RelayTrouble("421 at MAIL", stage="mail", code=421, reconnect=True)
SILENT = RelayTrouble("no answer to MAIL", stage="mail")


@pytest.mark.parametrize(("trouble", "reason"), [(CLOSING, "421"), (SILENT, "451 4.4.2")])
def test_a_message_that_loses_the_connection_lets_the_others_go_first_and_is_deferred(
    process, backend, queue, trouble, reason
):
    backend.before_begin = lambda message: (Ending.UNSENT, trouble) if message.subject == "bad" else None
    parcel = queue(mail("bad"), mail("good"))
    drain(parcel, process)
    bad, good = entries(process, parcel)
    assert (bad.state, bad.attempts, bad.reason) == (State.DEFERRED, 1, reason)
    assert good.state is State.SENT
    assert backend.opened == 3
    assert process.relays.wait("") == 0


@pytest.mark.parametrize(("trouble", "connections"), [(CLOSING, 4), (SILENT, 2)])
def test_a_relay_that_serves_none_of_them_costs_them_nothing(process, backend, queue, trouble, connections):
    backend.before_begin = lambda _message: (Ending.UNSENT, trouble)
    parcel = queue(mail("one"), mail("two"), mail("three"))
    drain(parcel, process)
    assert {(found.state, found.attempts, found.reason) for found in entries(process, parcel)} == {
        (State.DEFERRED, 0, "relay trouble at mail")
    }
    assert backend.opened == connections
    assert process.relays.wait("") > 0


def test_a_lone_message_that_loses_connections_keeps_the_others_waiting_once_only(process, backend, queue):
    backend.before_begin = lambda message: (Ending.UNSENT, CLOSING) if message.subject == "bad" else None
    parcel = queue(mail("bad"))
    drain(parcel, process)
    assert entry(process, parcel).attempts == 0
    assert process.relays.wait("") > 0
    clock = [time.monotonic() + 1000]
    process.relays._clock = lambda: clock[0]
    process.ledger._clock = lambda: time.time() + 1000
    [again] = process.ledger.tick().publications
    drain(Parcel(again.lane, again.number, again.items), process)
    assert entry(process, parcel).state is State.DEFERRED
    assert process.relays.wait("") == 0


def test_what_was_lost_over_one_message_is_no_answer_of_the_relay(process, backend, queue):
    backend.before_begin = lambda _message: (Ending.UNSENT, CLOSING)
    process.relays.troubled("", CLOSING)
    process.ledger._clock = lambda: time.time() + 1000
    drain(queue(mail()), process)
    assert process.relays.wait("") > 1.5 * FIRST_PROBE


def test_a_relay_that_loses_every_answer_is_left_alone_after_two(process, backend, queue):
    backend.script = [Ending.UNKNOWN] * 6
    parcel = queue(*(mail(str(number)) for number in range(6)))
    drain(parcel, process)
    assert [found.unknowns for found in entries(process, parcel)] == [1, 1, 0, 0, 0, 0]
    assert [found.attempts for found in entries(process, parcel)][2:] == [0] * 4
    assert process.relays.wait("") > 0


def test_who_was_deferred_is_not_asked_again_over_the_next_connection(process, backend, queue, grey):
    parcel = queue(mail("Hello", "a@x.org", "b@x.org", "c@x.org"))
    asked = []

    def deliver(messages, on_begin):
        for message in messages:
            asked.append(tuple(message.recipients()))
            on_begin([message])
            if len(asked) == 1:
                yield Outcome(message, Ending.PROGRESS, {"a@x.org": OK, "b@x.org": grey})
                raise CLOSING
            yield Outcome(message, Ending.ANSWERED, dict.fromkeys(message.recipients(), OK))

    backend.deliver = deliver
    drain(parcel, process)
    assert asked == [("a@x.org", "b@x.org", "c@x.org"), ("c@x.org",)]
    found = entry(process, parcel)
    assert found.state is State.DEFERRED
    assert found.results["b@x.org"].reply.code == 451


def test_its_turn_begins_when_it_is_handed_to_the_relay(process, backend, queue, monkeypatch):
    busy = []
    monkeypatch.setattr(
        "workers.drain.Batch.turn", lambda batch, message_id: busy.append((message_id, batch.holds(message_id))) or True
    )
    parcel = queue(mail("one"), mail("two"))
    drain(parcel, process)
    assert busy == [(message_id, True) for message_id, _ in parcel.items]


def test_a_message_whose_recipients_a_late_answer_has_served_is_sent_without_a_transaction(process, backend, queue, ok):
    parcel = queue(mail("Hello", "a@x.org"), mail("other"))
    [(first, _), (_second, _)] = parcel.items
    process.ledger.claim("default", [first], token="late", owner="other:1")
    process.ledger.record([Settlement(first, State.SENDING, {"a@x.org": ok})], "late")
    process.ledger.release([first], "late")
    [publication] = process.ledger.tick().publications
    drain(Parcel("default", publication.number, (*publication.items, *parcel.items[1:])), process)
    assert [found.state for found in entries(process, parcel)] == [State.SENT, State.SENT]
    assert [subject for subject, _ in backend.sent] == ["other"]


def test_progress_is_recorded_and_those_served_are_not_served_again(process, backend, queue):
    parcel = queue(mail("Hello", "a@x.org", "b@x.org"))
    backend.script = [Ending.PROGRESS]
    drain(parcel, process)
    found = entry(process, parcel)
    assert found.state is State.SENT
    assert set(found.results) == {"a@x.org", "b@x.org"}


# -- the relay


def test_relay_trouble_costs_a_message_nothing(process, backend, queue):
    parcel = queue(mail("one"), mail("two"))
    backend.script = [RelayTrouble("login failed", stage="auth")]
    drain(parcel, process)
    for found in entries(process, parcel):
        assert (found.state, found.attempts) == (State.DEFERRED, 0)
        assert found.reason == "relay trouble at auth"
    assert process.relays.wait("") > 0


def test_a_relay_in_trouble_is_left_alone_until_its_probe(process, backend, queue):
    process.relays.troubled("", RelayTrouble("refused", stage="connect"))
    parcel = queue(mail())
    drain(parcel, process)
    assert entry(process, parcel).state is State.DEFERRED
    assert backend.opened == 0


def test_a_relay_that_refuses_connections_is_tried_a_few_times(process, backend, queue):
    backend.script = [RelayTrouble("refused", stage="connect", reconnect=True)] * 2
    parcel = queue(mail())
    drain(parcel, process)
    assert entry(process, parcel).state is State.SENT
    assert backend.opened == 3


def test_a_relay_that_closes_after_each_message_delivers_them_all(process, backend, queue):
    parcel = queue(*(mail(str(n)) for n in range(6)))
    closing = RelayTrouble("421 too many messages", stage="mail", code=421, reconnect=True)
    backend.script = [None, closing] * 6
    drain(parcel, process)
    assert [found.state for found in entries(process, parcel)] == [State.SENT] * 6
    assert process.relays.wait("") == 0


def test_messages_that_waited_out_their_age_fail_while_the_relay_is_down(process, backend, queue):
    process.policies.of = lambda _lane, _relay: RetryPolicy(max_age=0.0)
    backend.script = [RelayTrouble("login failed", stage="auth")]
    parcel = queue(mail())
    drain(parcel, process)
    found = entry(process, parcel)
    assert (found.state, found.reason) == (State.FAILED, "maximum age reached")


def test_a_bug_in_a_backend_harms_no_claim_for_long(process, backend, queue, caplog):
    backend.script = [None, ZeroDivisionError("a bug")]
    parcel = queue(mail("one"), mail("two"), mail("three"))
    drain(parcel, process)
    one, two, three = entries(process, parcel)
    assert one.state is State.SENT
    assert (two.state, three.state) == (State.DEFERRED, State.DEFERRED)
    assert "ZeroDivisionError" in caplog.text


# -- the batch


def test_further_tasks_of_the_lane_join_the_batch(process, backend, tap, queue):
    first = queue(mail("one"))
    tap.parcels = [queue(mail("two")), queue(mail("three"), mail("four"))]
    drain(first, process)
    assert [subject for subject, _ in backend.sent] == ["one", "two", "three", "four"]
    assert backend.opened == 1
    assert tap.asked[0] == ("default", 99, 1.0)


def test_a_full_batch_takes_no_more_before_it_is_delivered(process, backend, tap, queue):
    process.batch_messages = 2
    first = queue(mail("one"), mail("two"))
    tap.parcels = [queue(mail("three"))]
    taken = tap.take
    tap.take = lambda lane, room, size: (tap.asked.append(len(backend.sent)), taken(lane, room, size))[1]
    drain(first, process)
    assert tap.asked[0] == 2
    assert len(backend.sent) == 3


def test_batch_follows_batch_until_the_lane_is_empty(process, backend, tap, queue):
    process.batch_messages = 2
    parcels = [queue(mail("one"), mail("two")) for _ in range(4)]
    first = parcels.pop()
    tap.take = lambda _lane, _room, _size: [parcels.pop()] if parcels else []
    drain(first, process)
    assert len(backend.sent) == 8


def test_a_task_that_was_handed_out_ahead_waits_for_one_batch_alone(process, backend, tap, queue):
    process.batch_messages = 2
    tap.hands_out_ahead = True
    parcels = [queue(mail(str(n))) for n in range(4)]
    tap.take = lambda _lane, _room, _size: [parcels.pop()] if parcels else []
    drain(queue(mail("first")), process)
    assert len(backend.sent) == 2


def test_after_a_while_a_task_ends_although_its_lane_has_more(process, backend, tap, queue, monkeypatch):
    monkeypatch.setattr("workers.drain.LONGEST_RUN", 0.0)
    process.batch_messages = 1
    first = queue(mail("one"))
    tap.parcels = [queue(mail("two"))]
    drain(first, process)
    assert len(backend.sent) == 1


def test_a_suspect_that_was_taken_runs_alone_in_the_next_batch(process, backend, tap, queue):
    first = queue(mail("one"))
    suspect = dataclasses.replace(queue(mail("suspect")), alone=True)
    tap.parcels = [queue(mail("two")), suspect]
    drain(first, process)
    assert [subject for subject, _ in backend.sent] == ["one", "two", "suspect"]
    assert [room for _lane, room, _size in tap.asked] == [99, 1]  # nothing joins a suspect; then the next batch


def test_a_second_copy_of_a_task_sends_nothing(process, backend, queue):
    parcel = queue(mail())
    drain(parcel, process)
    drain(parcel, process)
    assert len(backend.sent) == 1


def test_a_barrier_is_only_claimed(process, backend):
    drain(Parcel("default", 5, ()), process)
    assert backend.opened == 0


def test_mail_in_a_higher_lane_ends_the_batch_between_two_messages(process, backend, tap, queue, monkeypatch):
    monkeypatch.setattr("workers.lookout.LOOK_EVERY", 0.0)
    parcel = queue(*(mail(str(n)) for n in range(5)), lane="bulk")
    backend.script = [None, lambda _m: tap.full.add("default")]
    drain(parcel, process)
    assert len(backend.sent) == 2
    states = [found.state for found in entries(process, parcel)]
    assert states == [State.SENT, State.SENT, State.DEFERRED, State.DEFERRED, State.DEFERRED]
    assert all(found.attempts == 0 for found in entries(process, parcel)[2:])


def test_mail_in_a_higher_lane_ends_a_drain_whose_batches_are_quick(process, backend, tap, queue, monkeypatch):
    """Each of them may take less than the time between two looks."""
    now = itertools.count(0.0, 0.01)
    monkeypatch.setattr("workers.drain.Lookout", lambda *given: Lookout(*given, lambda: next(now)))
    tap.full.add("urgent")
    parcels = [queue(mail(str(n)), lane="bulk") for n in range(30)]
    process.batch_messages = 1
    tap.take = lambda *_: [parcels.pop(0)] if parcels else []
    drain(parcels.pop(0), process)
    assert len(backend.sent) < 10


def test_a_look_that_failed_is_not_repeated_for_each_message(process, backend, tap, queue, monkeypatch):
    monkeypatch.setattr("workers.lookout.LOOK_EVERY", 0.0)
    looks = []
    tap.waiting = lambda lanes: looks.append(lanes) or 1 / 0
    drain(queue(*(mail(str(n)) for n in range(5)), lane="bulk"), process)
    assert len(backend.sent) == 5
    assert len(looks) == 1


def test_a_lower_lane_does_not(process, backend, tap, queue, monkeypatch):
    monkeypatch.setattr("workers.lookout.LOOK_EVERY", 0.0)
    tap.full = {"bulk"}
    drain(queue(*(mail(str(n)) for n in range(5)), lane="default"), process)
    assert len(backend.sent) == 5


def test_a_shutdown_ends_the_batch_and_gives_back_the_rest(process, backend, stop, queue):
    parcel = queue(mail("one"), mail("two"), mail("three"))
    backend.script = [lambda _m: stop.set()]
    drain(parcel, process)
    assert [found.state for found in entries(process, parcel)] == [State.SENT, State.DEFERRED, State.DEFERRED]


def test_a_claim_that_was_lost_before_it_began_sends_nothing(process, backend, queue):
    parcel = queue(mail("one"), mail("two"))
    [(second, _)] = parcel.items[1:]
    backend.script = [lambda _m: process.ledger.free(process.owner)]
    drain(parcel, process)
    assert backend.sent == []
    assert process.ledger.get(second).state is State.DEFERRED


# -- what cannot be read, what was forgotten


def test_an_unreadable_envelope_is_held_with_its_reason(process):
    ledger = process.ledger
    broken = Submission("broken", b"{not json")
    number = ledger.accept("default", [broken]).number
    drain(Parcel("default", number, (("broken", b"{not json"),)), process)
    found = ledger.get("broken")
    assert found.state is State.HELD
    assert "unreadable" in found.reason


def test_what_cannot_be_put_together_is_held_and_its_neighbours_are_sent(process, backend):
    bad = Envelope(id="bad", created=time.time(), kind="rendered", rcpt=("a@example.com",))
    good, _ = pack(mail(), id="good", now=time.time())
    items = tuple((envelope.id, codec.encode(envelope)) for envelope in (bad, good))
    number = process.ledger.accept("default", [Submission(*item) for item in items]).number
    drain(Parcel("default", number, items), process)
    assert process.ledger.get("good").state is State.SENT
    assert process.ledger.get("bad").state is State.HELD
    assert process.ledger.get("bad").reason == "cannot be put together: a rendered message has no bytes"


@pytest.fixture
def buggy(monkeypatch):
    """Messages with the subject "one" meet a bug of ours."""
    unpack = unpacking.unpack
    monkeypatch.setattr(
        unpacking, "unpack", lambda envelope, blobs: 1 / 0 if envelope.subject == "one" else unpack(envelope, blobs)
    )


def test_a_bug_that_one_message_meets_puts_off_that_one_alone(process, backend, queue, buggy, caplog):
    parcel = queue(mail("one"), mail("two"))
    drain(parcel, process)
    one, two = entries(process, parcel)
    assert two.state is State.SENT
    assert (one.state, one.attempts, one.crashes, one.reason) == (State.DEFERRED, 0, 0, "ZeroDivisionError")
    assert one.due_at - one.updated_at == pytest.approx(60, abs=1)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("minutes", "wait"), [(1, 60), (10, 300), (60, 1800), (20 * 60, 3600)])
def test_the_longer_it_has_met_it_the_later_it_is_tried_again(process, queue, buggy, minutes, wait):
    parcel = queue(mail("one"))
    process.now = lambda: time.time() + 60 * minutes
    drain(parcel, process)
    one = entry(process, parcel)
    assert one.due_at - one.updated_at == pytest.approx(wait, abs=1)


def test_a_bug_that_no_deploy_has_mended_in_a_day_holds_the_message(process, backend, queue, buggy, caplog):
    parcel = queue(mail("one"), mail("two"))
    process.now = lambda: time.time() + 86400
    drain(parcel, process)
    one, two = entries(process, parcel)
    assert two.state is State.SENT
    assert (one.state, one.reason) == (State.HELD, "cannot be put together by this worker: ZeroDivisionError")
    assert "action=unpack_failed" in caplog.text
    assert "action=held" in caplog.text


def test_a_bug_leaves_no_message_claimed(process, backend, queue, monkeypatch, caplog):
    parcel = queue(mail("one"), mail("two"))
    monkeypatch.setattr("workers.deliver.Delivery.run", lambda *_: 1 / 0)
    drain(parcel, process)
    assert {(found.state, found.attempts, found.crashes) for found in entries(process, parcel)} == {
        (State.DEFERRED, 0, 0)
    }
    assert "action=batch_failed lane=default" in caplog.text
    assert "division by zero" not in caplog.text  # such a text may repeat an address


# -- large parts

MIB = 1024 * 1024


@pytest.fixture
def fetched(process, monkeypatch):
    """Octets of each fetch of large parts."""
    fetched = []
    get = process.ledger.get_blobs

    def get_blobs(hashes):
        blobs = get(hashes)
        fetched.append(sum(map(len, blobs.values())))
        return blobs

    monkeypatch.setattr(process.ledger, "get_blobs", get_blobs)
    return fetched


def large(process, subject, content):
    """A message with an attachment, its parts stored: (id, encoded envelope)."""
    message = mail(subject)
    message.attach("file.bin", content, "application/octet-stream")
    envelope, blobs = pack(message, id=f"large-{subject}", now=time.time())
    process.ledger.put_blobs(blobs)
    encoded = codec.encode(envelope)
    return envelope.id, encoded, envelope.blobs()


def accepted(process, larges):
    submissions = [Submission(message_id, encoded, blobs=blobs) for message_id, encoded, blobs in larges]
    number = process.ledger.accept("default", submissions).number
    return Parcel("default", number, tuple((message_id, encoded) for message_id, encoded, _ in larges))


def test_large_parts_are_fetched_as_many_bytes_at_a_time_as_a_batch_may_have(process, backend, fetched):
    process.batch_bytes = 2 * MIB
    process.blobs = BlobCache(process.ledger, limit=0)
    parcel = accepted(process, [large(process, str(n), bytes([n]) * MIB) for n in range(5)])
    sent_before = []
    fetched_blobs = process.ledger.get_blobs
    process.ledger.get_blobs = lambda hashes: (sent_before.append(len(backend.sent)), fetched_blobs(hashes))[1]
    drain(parcel, process)
    assert [subject for subject, _ in backend.sent] == ["0", "1", "2", "3", "4"]
    assert fetched == [2 * MIB, 2 * MIB, MIB]
    assert sent_before == [0, 2, 4]
    assert backend.opened == 1


def test_one_message_may_be_larger_than_that(process, backend, fetched):
    process.batch_bytes = MIB
    parcel = accepted(process, [large(process, str(n), bytes([n]) * 3 * MIB) for n in range(2)])
    drain(parcel, process)
    assert len(backend.sent) == 2
    assert fetched == [3 * MIB, 3 * MIB]


def test_a_part_that_many_share_counts_once(process, backend, fetched):
    process.batch_bytes = 2 * MIB
    parcel = accepted(process, [large(process, str(n), b"x" * MIB) for n in range(5)])
    drain(parcel, process)
    assert len(backend.sent) == 5
    assert fetched == [MIB]


def test_what_is_not_fetched_when_the_worker_stops_is_given_back_unfetched(process, backend, stop, fetched):
    process.batch_bytes = MIB
    parcel = accepted(process, [large(process, str(n), bytes([n]) * MIB) for n in range(3)])
    backend.script = [lambda _m: stop.set()]
    drain(parcel, process)
    assert [found.state for found in entries(process, parcel)] == [State.SENT, State.DEFERRED, State.DEFERRED]
    assert fetched == [MIB]


def test_what_was_given_back_meanwhile_is_not_fetched(process, backend, fetched):
    process.batch_bytes = MIB
    parcel = accepted(process, [large(process, str(n), bytes([n]) * MIB) for n in range(3)])
    backend.script = [lambda _m: [batch.given_back(batch.waiting()) for batch in process.keeper._batches] and None]
    process.ledger.begin = lambda ids, _token: [True] * len(ids)
    drain(parcel, process)
    assert len(fetched) == 1


def test_a_relay_that_loses_the_answers_of_large_messages_is_left_alone_after_two(process, backend, fetched):
    process.batch_bytes = MIB
    parcel = accepted(process, [large(process, str(n), bytes([n]) * MIB) for n in range(5)])
    backend.script = [Ending.UNKNOWN] * 5
    drain(parcel, process)
    assert [found.unknowns for found in entries(process, parcel)] == [1, 1, 0, 0, 0]


def test_a_message_whose_large_part_is_gone_is_held_and_its_neighbours_are_sent(process, backend):
    larges = [large(process, str(n), bytes([n]) * MIB) for n in range(2)]
    parcel = accepted(process, larges)
    get = process.ledger.get_blobs
    process.ledger.get_blobs = lambda hashes: {
        key: blob for key, blob in get(hashes).items() if key not in larges[0][2]
    }
    drain(parcel, process)
    gone, other = entries(process, parcel)
    assert (gone.state, gone.reason) == (State.HELD, "a large part of it is not in the ledger")
    assert other.state is State.SENT


def test_a_task_without_a_record_is_accepted_again(process, backend):
    envelope, _ = pack(mail(), id="forgotten", lane="default", relay="", now=time.time())
    drain(Parcel("default", 1, (("forgotten", codec.encode(envelope)),)), process)
    assert process.ledger.get("forgotten").state is State.SENT
    assert process.ledger.counters()["restored"] == 1


def test_one_that_is_past_its_deadline_expires_and_is_not_sent(process, backend):
    now = time.time()
    envelope, _ = pack(mail(), id="late", lane="default", relay="", now=now, expires_at=now - 1)
    drain(Parcel("default", 1, (("late", codec.encode(envelope)),)), process)
    assert process.ledger.get("late").state is State.EXPIRED
    assert backend.sent == []


def test_a_task_without_a_record_that_is_past_the_retention_is_dropped(process, backend, caplog):
    envelope, _ = pack(mail(), id="old", lane="default", relay="", now=1_000_000.0)
    drain(Parcel("default", 1, (("old", codec.encode(envelope)),)), process)
    assert backend.sent == []
    assert "action=dropped message_id=old" in caplog.text


def test_logs_name_no_address_and_no_subject_at_info(process, backend, queue, grey, caplog):
    caplog.set_level("INFO")
    backend.answers["a@x.org"] = grey
    drain(queue(mail("Secret", "a@x.org"), mail("Secret", "b@x.org")), process)
    assert "action=deferred" in caplog.text
    for private in ("a@x.org", "b@x.org", "someone@example.com", "Secret", "app@example.com"):
        assert private not in caplog.text
