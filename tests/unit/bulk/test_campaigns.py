"""Campaigns from end to end, in memory: what is sent, what is counted, and what can be done meanwhile."""

from __future__ import annotations

import io
import os
import smtplib
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mailqueue import bulk, conf
from mailqueue.bulk import CampaignState, Template
from mailqueue.bulk.address import digest
from mailqueue.bulk.letters import Letters
from mailqueue.bulk.spec import host_of
from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.bulk.ways import choose
from mailqueue.errors import (
    CampaignConflict,
    CampaignNotFound,
    IllegalTransition,
    ImproperlyConfigured,
    InvalidMessage,
    RecipientError,
    TemplateError,
    WireError,
)
from mailqueue.ledger.suppressions import Suppression
from mailqueue.producer import get_producer
from mailqueue.testing import MemoryQueue
from workers.campaigns import CampaignCache

TEMPLATE = Template(
    subject="Hello {{ name }}", text="Dear {{ name }}, your code is {{ code }}.", from_email="Shop <shop@example.org>"
)


def people(count, first=0):
    return [(f"p{n}@example.com", {"name": f"P{n}", "code": n}) for n in range(first, first + count)]


@pytest.fixture
def queue():
    with MemoryQueue() as queue:
        yield queue


def sent_to(queue):
    return Counter(address for message in queue.outbox for address in message.to)


def test_each_recipient_gets_a_message_of_their_own(queue):
    campaign = bulk.send(TEMPLATE, people(450), campaign="spring")
    assert (campaign.id, campaign.added, campaign.duplicates) == ("spring", 450, 0)
    assert campaign.status().counts["waiting"] == 450
    queue.run(5)
    assert sent_to(queue) == Counter(address for address, _ in people(450))
    message = next(message for message in queue.outbox if message.to == ["p7@example.com"])
    assert (message.subject, message.body) == ("Hello P7", "Dear P7, your code is 7.")
    status = campaign.status()
    assert (status.state, status.counts["sent"], status.done) == (CampaignState.FINISHED, 450, 1.0)
    assert status.ended_at


def test_how_the_index_is_divided_goes_by_the_dry_run_if_there_was_one(queue, tmp_path, monkeypatch):
    """A file's size says little: these rows are long."""
    path = tmp_path / "people.csv"
    path.write_text("email,name,code\n" + "".join(f"{a},{d['name']},{'9' * 2000}\n" for a, d in people(40)))
    ledger, widths = get_producer().ledger, []
    create = ledger.campaigns.create

    def noted(*arguments, **options):
        widths.append(options["width"])
        return create(*arguments, **options)

    monkeypatch.setattr(ledger.campaigns, "create", noted)
    bulk.send(TEMPLATE, path)
    bulk.send(TEMPLATE, path, on_error="skip")
    bulk.send(TEMPLATE, (person for person in people(3)))
    assert widths == [0, 1, 2]


def test_its_messages_say_what_bulk_mail_must_say(queue):
    bulk.send(TEMPLATE, people(1), campaign="spring", list="news", feedback_id="shopxy", unsubscribe=False)
    queue.run(2)
    (message,) = queue.outbox
    headers = message.extra_headers
    assert headers["List-Id"] == "<news.example.org>"
    assert headers["Precedence"] == "bulk"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["Feedback-ID"] == "spring:news:bulk:shopxy"
    assert headers["Message-ID"].startswith("<spring~")
    assert headers["Message-ID"].endswith("@example.org>")
    assert "Date" in headers


def test_whoever_is_on_a_list_can_leave_it(queue):
    with pytest.raises(ImproperlyConfigured, match="MAILQUEUE_UNSUBSCRIBE"):
        bulk.send(TEMPLATE, people(1), list="news")
    template = Template(subject="Hello", text="Leave: {{ unsubscribe_url }}")
    with conf.override(MAILQUEUE_UNSUBSCRIBE_URL="https://example.org/u/", MAILQUEUE_UNSUBSCRIBE_KEYS=["k" * 32]):
        bulk.send(template, people(1), list="news")
        queue.run(2)
        (message,) = queue.outbox
        url = message.body.removeprefix("Leave: ")
        assert message.extra_headers["List-Unsubscribe"] == f"<{url}>"
        assert message.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert Unsubscribe.from_settings().read(url.rpartition("/")[2]) == ("news", "p0@example.com")


@pytest.mark.parametrize("post", [{}, {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}])
def test_a_way_out_of_the_templates_own_promises_one_click_only_itself(queue, post):
    own = {"List-Unsubscribe": "<https://shop.example.org/leave>"} | post
    with conf.override(MAILQUEUE_UNSUBSCRIBE_URL="https://example.org/u/", MAILQUEUE_UNSUBSCRIBE_KEYS=["k" * 32]):
        bulk.send(Template(subject="Hello", text="x", headers=own), people(1), list="news")
        queue.run(2)
    (message,) = queue.outbox
    assert {name: value for name, value in message.extra_headers.items() if "Unsubscribe" in name} == own


@pytest.mark.parametrize(
    ("sender", "host"),
    [
        ("Shop <news@Example.org>", "example.org"),
        ("news@bücher.example", "xn--bcher-kva.example"),
        ("{{ brand }} <{{ brand }}@example.org>", "example.org"),
        ("news@{{ domain }}", "example.net"),
        ("news@a..b", "example.net"),
    ],
)
def test_lists_and_message_ids_are_of_the_senders_domain(sender, host):
    with conf.override(DEFAULT_FROM_EMAIL="root@example.net"):
        assert host_of(sender) == host


def test_an_address_that_comes_twice_gets_one_message(queue):
    campaign = bulk.send(TEMPLATE, [*people(3), *people(2), ("P1@Example.com", {"name": "x", "code": 0})])
    assert (campaign.added, campaign.duplicates) == (3, 3)
    queue.run(2)
    assert sum(sent_to(queue).values()) == 3


def test_a_made_id_tells_the_time(queue):
    campaign = bulk.send(TEMPLATE, people(1))
    assert campaign.id.startswith(f"{datetime.now(UTC):%y%m%d}-")


# -- mistakes


def test_a_mistake_is_found_before_anything_is_stored(queue):
    wrong = [*people(300), ("q@example.com", {"name": "Q"}), ("r@example.com", {"code": 1})]
    with pytest.raises(RecipientError, match="row 301") as caught:
        bulk.send(TEMPLATE, wrong, campaign="spring")
    assert [error.row for error in caught.value.errors] == [301, 302]
    assert "code" in str(caught.value.errors[0])
    assert bulk.campaigns() == []
    assert bulk.send(TEMPLATE, people(300), campaign="spring").added == 300


def test_a_mistake_in_what_is_read_once_cancels_what_was_stored(queue):
    wrong = iter([*people(300), ("q@example.com", {"name": "Q"})])
    with pytest.raises(RecipientError, match="nothing was sent"):
        bulk.send(TEMPLATE, wrong, campaign="spring")
    assert bulk.status("spring").state is CampaignState.CANCELLED
    queue.run(5)
    assert queue.outbox == []
    with pytest.raises(IllegalTransition, match="new id"):
        bulk.send(TEMPLATE, people(3), campaign="spring")


def test_a_mistake_of_the_template_with_a_row_names_the_file(queue, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("email,name,code\na@example.com,A,1\nb@example.com,B,2\n")
    with pytest.raises(RecipientError) as caught:
        bulk.send(Template(subject="{{ nam }}", text="x"), path)
    assert (caught.value.row, caught.value.file) == (2, str(path))
    assert [str(error).partition(": subject")[0] for error in caught.value.errors] == [
        f"{path}, row 2",
        f"{path}, row 3",
    ]
    skipped = bulk.send(Template(subject="{{ nam }}", text="x"), path, on_error="skip", dry_run=True)
    assert [error.file for error in skipped.mistakes] == [str(path)] * 2


def test_a_pipe_is_read_once(queue, tmp_path):
    path = tmp_path / "people.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("email,name,code\na@example.com,A,1\n",), daemon=True)
    writer.start()
    assert bulk.send(TEMPLATE, path, campaign="piped").added == 1
    writer.join(10)


def test_who_cannot_be_used_may_be_left_out(queue):
    wrong = [("no address", {"name": "N", "code": 0}), *people(2), ("q@example.com", {})]
    campaign = bulk.send(TEMPLATE, wrong, on_error="skip")
    assert (campaign.added, campaign.skipped) == (2, 2)
    assert [error.row for error in campaign.mistakes] == [1, 4]
    queue.run(2)
    assert len(queue.outbox) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"campaign": "Spring Sale"}, "id of a campaign"),
        ({"campaign": "a..b"}, "id of a campaign"),
        ({"quiet": "22:00-07:00"}, "time zone"),
        ({"quiet": "22:00-07:00 Europe/Pariss"}, "did you mean Europe/Paris"),
        ({"quiet": "late"}, "from when until when"),
        ({"on_error": "ignore"}, "on_error"),
        ({"using": {}}, "at least one"),
        ({"lane": "fast"}, "no lane"),
        ({"list": "My List"}, "list"),
        ({"feedback_id": "a:b"}, "Feedback-ID"),
        ({"on_finish": "function"}, "dotted path"),
        ({"start_at": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_read(queue, options, words):
    def nobody():
        raise AssertionError("read")
        yield

    with pytest.raises(InvalidMessage, match=words):
        bulk.send(TEMPLATE, nobody(), **options)


def test_a_file_says_what_the_caller_does_not(queue, tmp_path):
    template = tmp_path / "spring.toml"
    template.write_text(
        'subject = "Hello {{ name }}"\ntext = "Dear {{ name }}"\nfrom = "shop@example.org"\n'
        '[campaign]\nid = "spring"\nlist = "news"\nunsubscribe = false\non_error = "skip"\n'
    )
    recipients = tmp_path / "people.csv"
    recipients.write_text("email,name\nann@example.com,Ann\nnobody,Bob\n")
    campaign = bulk.send(template, str(recipients), list="other")
    assert (campaign.id, campaign.added, campaign.skipped) == ("spring", 1, 1)
    assert campaign.mistakes[0].row == 3
    queue.run(2)
    (message,) = queue.outbox
    assert message.subject == "Hello Ann"
    assert message.extra_headers["List-Id"] == "<other.example.org>"


def test_a_dry_run_stores_nothing_and_shows_the_first_message(queue):
    campaign = bulk.send(TEMPLATE, people(3), campaign="spring", dry_run=True)
    assert (campaign.id, campaign.added) == ("", 3)
    assert campaign.first.subject == "Hello P0"
    assert bulk.campaigns() == []


# -- once more


def test_a_call_that_was_interrupted_is_gone_on_with(queue):
    def breaking():
        yield from people(450)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bulk.send(TEMPLATE, breaking(), campaign="spring")
    queue.run(2)
    assert queue.outbox == []
    assert bulk.status("spring").state is CampaignState.LOADING
    again = bulk.send(TEMPLATE, iter(people(500)), campaign="spring")
    assert (again.added, again.duplicates) == (100, 400)
    queue.run(5)
    assert sent_to(queue) == Counter(address for address, _ in people(500))


def test_a_complete_campaign_is_not_read_again(queue):
    bulk.send(TEMPLATE, people(3), campaign="spring")
    again = bulk.send(TEMPLATE, iter(people(9)), campaign="spring")
    assert again.added == 0
    queue.run(2)
    assert len(queue.outbox) == 3


def test_another_template_under_the_same_id_is_a_conflict(queue):
    bulk.send(TEMPLATE, people(3), campaign="spring")
    with pytest.raises(CampaignConflict):
        bulk.send(Template(subject="x", text="y"), iter(()), campaign="spring")


# -- control


def test_while_it_is_paused_nothing_goes_out_and_then_it_goes_on(queue):
    campaign = bulk.send(TEMPLATE, people(500))
    assert campaign.pause().state is CampaignState.PAUSED
    queue.run(60)
    assert queue.outbox == []
    campaign.resume()
    queue.run(5)
    assert sent_to(queue) == Counter(address for address, _ in people(500))
    assert campaign.status().state is CampaignState.FINISHED


def test_who_waits_when_it_is_cancelled_gets_nothing(queue):
    campaign = bulk.send(TEMPLATE, people(500), start_at=datetime.now(UTC) + timedelta(hours=1))
    assert campaign.status().state is CampaignState.SCHEDULED
    status = campaign.cancel()
    assert (status.state, status.counts["cancelled"], status.done) == (CampaignState.CANCELLED, 500, 1.0)
    queue.run(7200)
    assert queue.outbox == []


def test_it_starts_when_it_was_told_to(queue):
    campaign = bulk.send(TEMPLATE, people(3), start_at=datetime.now(UTC) + timedelta(hours=1))
    queue.run(3500)
    assert queue.outbox == []
    queue.run(200)
    assert len(queue.outbox) == 3
    assert campaign.status().start_at


def test_what_has_not_gone_out_by_its_end_expires(queue):
    campaign = bulk.send(TEMPLATE, people(3), expires_at=timedelta(hours=1))
    campaign.pause()
    queue.advance(3700)
    queue.run(5)
    assert queue.outbox == []
    status = campaign.status()
    assert (status.state, status.counts["expired"]) == (CampaignState.EXPIRED, 3)


def test_who_has_left_the_list_since_gets_nothing(queue):
    campaign = bulk.send(TEMPLATE, people(3), list="news", unsubscribe=False)
    queue.ledger.suppressions.add([Suppression("p1@example.com", "news", "unsubscribed")])
    queue.run(2)
    assert sorted(sent_to(queue)) == ["p0@example.com", "p2@example.com"]
    assert campaign.status().counts["suppressed"] == 1
    (row,) = [row for row in campaign.export() if row.state == "suppressed"]
    assert (row.address, row.reply) == ("p1@example.com", "suppressed: unsubscribed")


class Refusing:
    """A backend whose relay refuses some, for what is in their messages: their addresses are none the worse for it."""

    def __init__(self, *addresses):
        self.refused = set(addresses)
        self.sent = []

    def open(self):
        return True

    def close(self):
        pass

    def send_messages(self, messages):
        for message in messages:
            (to,) = message.recipients()
            if to in self.refused:
                raise smtplib.SMTPRecipientsRefused({to: (554, b"5.7.1 too many links")})
            self.sent.append(to)
        return len(messages)


def test_the_failed_ones_alone_are_tried_again(queue):
    campaign = bulk.send(TEMPLATE, people(5))
    relay = Refusing("p1@example.com", "p3@example.com")
    queue.run(2, backend=relay)
    assert campaign.status().counts["failed"] == 2
    assert campaign.retry() == 2
    relay.refused = {"p3@example.com"}
    relay.sent.clear()
    queue.run(2, backend=relay)
    assert relay.sent == ["p1@example.com"]
    assert campaign.status().counts["sent"] == 4
    assert campaign.retry() == 1
    queue.run(2, backend=relay)


def test_what_became_of_each_recipient_can_be_exported(queue):
    campaign = bulk.send(TEMPLATE, people(3))
    queue.run(2, backend=Refusing("p1@example.com"))
    out = io.StringIO()
    assert campaign.export_csv(out) == 3
    lines = out.getvalue().splitlines()
    assert lines[0] == "address,state,reply"
    assert lines[1].startswith("p0@example.com,sent")
    assert lines[2] == "p1@example.com,failed,554 5.7.1 too many links"


def test_a_chunk_that_cannot_be_read_hides_no_others_from_the_export(queue, monkeypatch, caplog):
    campaign = bulk.send(TEMPLATE, people(450))
    ledger = get_producer().ledger.campaigns
    chunk = ledger.chunk
    monkeypatch.setattr(ledger, "chunk", lambda name, number: b"=no" if number == 2 else chunk(name, number))
    assert len(list(campaign.export())) == 250
    assert f"action=chunk_unreadable campaign={campaign.id} chunk=2" in caplog.text


def test_quiet_hours_are_kept(queue):
    now = datetime.now(UTC)
    quiet = f"{now - timedelta(minutes=5):%H:%M}-{now + timedelta(hours=2):%H:%M} UTC"
    campaign = bulk.send(TEMPLATE, people(3), quiet=quiet)
    queue.run(1800)
    assert queue.outbox == []
    assert campaign.status().quiet
    queue.run(6000)
    assert len(queue.outbox) == 3


def test_seeds_get_theirs_first_and_at_once(queue):
    campaign = bulk.send(
        TEMPLATE,
        people(3),
        seeds=["me@example.org", ("you@example.org", {"name": "You", "code": 42})],
        start_at=datetime.now(UTC) + timedelta(hours=1),
    )
    assert len(campaign.seeds) == 2
    queue.run(2)
    assert {message.to[0]: message.subject for message in queue.outbox} == {
        "me@example.org": "Hello P0",
        "you@example.org": "Hello You",
    }


def test_a_seed_that_cannot_be_used_is_told_before_anything_is_stored(queue):
    with pytest.raises(TemplateError, match="code"):
        bulk.send(TEMPLATE, people(3), seeds=[("you@example.org", {"name": "You"})])
    assert bulk.campaigns() == []


def test_a_test_send_makes_no_campaign(queue):
    campaign = bulk.send(TEMPLATE, iter(people(3)), seeds=["me@example.org"], seeds_only=True)
    assert campaign.id == ""
    assert bulk.campaigns() == []
    queue.run(2)
    assert sent_to(queue) == {"me@example.org": 1}


def test_whoever_wants_to_know_is_told_of_its_end_once(queue, monkeypatch):
    told = []
    monkeypatch.setitem(sys.modules, "application", SimpleNamespace(note=told.append))
    campaign = bulk.send(TEMPLATE, people(3), on_finish="application.note")
    queue.run(10)
    assert [(status.id, status.counts["sent"]) for status in told] == [(campaign.id, 3)]


def test_an_application_that_does_not_want_to_know_harms_nobody(queue, caplog):
    campaign = bulk.send(TEMPLATE, people(3), on_finish="no.such.function")
    queue.run(10)
    assert campaign.status().state is CampaignState.FINISHED
    assert "action=on_finish_failed" in caplog.text


def test_waiting_for_its_end_tells_how_it_stands(queue):
    campaign = bulk.send(TEMPLATE, people(3))
    seen = []
    assert campaign.wait(timeout=0, progress=seen.append).state is CampaignState.RUNNING
    queue.run(2)
    assert campaign.wait().state is CampaignState.FINISHED
    assert seen[0].total == 3


def test_a_recipient_whose_message_cannot_be_made_fails_alone(queue, monkeypatch):
    """The dry run has found nothing; whatever changed since, the others are not to suffer for it."""
    campaign = bulk.send(Template(subject="Hello", text="{{ name }}"), people(3), list="news", unsubscribe=False)
    render = Letters.render

    def rendered(self, address, data, **more):
        if address == "p1@example.com":
            raise TemplateError("'name' is undefined", field="text", line=3)
        return render(self, address, data, **more)

    monkeypatch.setattr(Letters, "render", rendered)
    queue.run(2)
    assert sorted(sent_to(queue)) == ["p0@example.com", "p2@example.com"]
    (row,) = [row for row in campaign.export() if row.state == "failed"]
    assert row.address == "p1@example.com"
    assert "'name' is undefined" in row.reply


@pytest.mark.parametrize(
    ("error", "reason"),
    [(CampaignNotFound("gone"), "its campaign is not in the ledger"), (WireError("no"), "its campaign cannot be read")],
)
def test_a_message_whose_campaign_cannot_be_read_is_held(queue, monkeypatch, error, reason):
    def letters(self, campaign):
        raise error

    campaign = bulk.send(TEMPLATE, people(2))
    monkeypatch.setattr(CampaignCache, "letters", letters)
    queue.run(2)
    assert queue.outbox == []
    assert campaign.status().counts["held"] == 2
    assert all(row.reply.startswith(reason) for row in campaign.export())


def test_attachments_are_stored_once(queue):
    pdf = b"%PDF" + bytes(100_000)
    bulk.send(TEMPLATE, people(3), attachments=[("flyer.pdf", pdf, "application/pdf")])
    queue.run(2)
    assert [message.attachments[0].content for message in queue.outbox] == [pdf] * 3


def test_relays_are_drawn_by_weight_and_stay_the_same():
    relays = {"eu": 3.0, "us": 1.0}
    drawn = {n: choose(relays, digest(f"p{n}@example.com")) for n in range(4000)}
    assert 2850 < Counter(drawn.values())["eu"] < 3150
    assert drawn == {n: choose(relays, digest(f"p{n}@example.com")) for n in range(4000)}
    assert choose({}, digest("p@example.com")) == ""
    assert choose({"eu": 1.0}, digest("p@example.com")) == "eu"
