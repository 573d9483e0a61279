"""``mailqueue bulk send`` makes a campaign of two files, or tells all that is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailqueue import bulk, conf
from mailqueue.bulk.spec import decode_options

TEMPLATE = """\
subject = "{{ name }}, news"
from = "news@shop.example"
text = '''
Dear {{ name }},

news.
'''

[campaign]
id = "spring-news"
lane = "default"
on_error = "skip"
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "spring.toml").write_text(TEMPLATE)
    (tmp_path / "members.csv").write_text("email,name\nann@example.com,Ann\nbob@example.com,Bob\nANN@example.com,Ann\n")
    return tmp_path / "spring.toml", tmp_path / "members.csv"


@pytest.fixture
def send(run, files):
    def invoke(*options, **more):
        return run("send", *files, "--no-wait", *options, **more)

    return invoke


def rows(path, *lines):
    path.write_text("email,name\n" + "".join(f"{line}\n" for line in lines))


def options(ledger, campaign="spring-news"):
    return decode_options(ledger().campaigns.get(campaign).spec)


def test_makes_a_campaign_and_prints_its_id(send):
    result = send("--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout == "spring-news\n"
    assert "2 recipients stored, 1 duplicate left out" in result.stderr
    assert "mailqueue bulk status spring-news --watch" in result.stderr
    found = bulk.status("spring-news")
    assert (found.state, found.lane, found.total) == ("running", "default", 2)


def test_asks_first(send):
    assert send(text="n\n").exit_code == 1
    assert bulk.campaigns() == []
    assert "to about 3 recipients?" in send(text="y\n").stderr
    assert bulk.status("spring-news").total == 2


def test_the_command_line_wins_over_the_file(send, ledger):
    now = datetime.now(UTC)
    result = send(
        *("--yes", "--campaign", "other", "--lane", "bulk", "--start-at", "2h", "--expires-at", "8h"),
        *("--quiet", "22:00-07:00", "--time-zone", "Europe/Paris"),
    )
    assert result.exit_code == 0, result.output
    found = bulk.status("other")
    assert (found.state, found.lane) == ("scheduled", "bulk")
    assert found.start_at == pytest.approx((now + timedelta(hours=2)).timestamp(), abs=30)
    assert found.expires_at - found.start_at == pytest.approx(8 * 3600, abs=1)
    assert options(ledger, "other").quiet == "22:00-07:00 Europe/Paris"


def test_times_go_by_the_zone_that_is_told(send):
    assert send("--yes", "--start-at", "2036-12-01 09:00", "--time-zone", "America/New_York").exit_code == 0
    assert bulk.status("spring-news").start_at == datetime(2036, 12, 1, 14, tzinfo=UTC).timestamp()


def test_times_of_no_zone_are_wrong_usage(send):
    result = send("--yes", "--start-at", "2036-12-01 09:00")
    assert result.exit_code == 2
    assert "--time-zone" in result.output


def test_several_relays_have_weights(send, ledger):
    smtp = {"BACKEND": "mailqueue.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "relay.example"}}
    queue = {"BACKEND": "mailqueue.mail.backends.queue.EmailBackend"}
    conf.configure(
        MAILERS={
            "default": queue,
            "one": smtp,
            "two": smtp,
            "a": queue | {"OPTIONS": {"deliver_with": "one"}},
            "b": queue | {"OPTIONS": {"deliver_with": "two"}},
        }
    )
    assert send("--yes", "--using", "a=3", "--using", "b").exit_code == 0
    assert options(ledger).relays == {"one": 3.0, "two": 1.0}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("a=x",), "the weight is no number"),
        (("a=0",), "a weight is a number above 0"),
        (("a", "a=2"), "'a' is given twice"),
    ],
)
def test_weights_are_numbers(send, values, told):
    result = send("--yes", *(word for value in values for word in ("--using", value)))
    assert result.exit_code == 2
    assert told in result.output


def test_all_bad_rows_are_told_and_nothing_is_sent(send, files):
    rows(files[1], *(["nobody,x"] * 25), "ann@example.com,Ann")
    result = send("--yes", "--on-error", "stop")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "mailqueue: 25 recipients that cannot be used:"
    assert "members.csv, row 2, column email: 'nobody'" in lines[1]
    assert "row 21" in lines[20]
    assert lines[21:] == ["  ... and 5 more", "Nothing was sent. To leave such recipients out: --on-error skip"]
    assert bulk.campaigns() == []


def test_bad_rows_are_skipped_and_told_if_one_says_so(send, files):
    rows(files[1], "nobody,x", "ann@example.com,Ann")
    result = send("--yes")
    assert result.exit_code == 0
    assert "1 recipient stored, 1 skipped" in result.stderr
    assert "row 2, column email" in result.stderr
    assert bulk.status("spring-news").total == 1


def test_mistakes_of_the_template_have_file_and_line(send, files):
    files[0].write_text(TEMPLATE.replace("Dear {{ name }}", "Dear {{ name }").replace("lane =", "lnae ="))
    result = send("--yes")
    assert result.exit_code == 1
    assert "spring.toml" in result.stderr
    assert "line 4" in result.stderr
    assert "lnae" in result.stderr
    assert "Traceback" not in result.output


def test_a_variable_that_nobody_has_is_found_before_anything_is_sent(send, files):
    rows(files[1], "ann@example.com,Ann")
    files[0].write_text(TEMPLATE.replace("news.\n", "{{ gift }}\n"))
    result = send("--yes", "--on-error", "stop")
    assert result.exit_code == 1
    assert "gift" in result.stderr
    assert bulk.campaigns() == []


def test_a_dry_run_shows_the_first_message_and_stores_nothing(send):
    result = send("--dry-run")
    assert result.exit_code == 0, result.output
    for line in ("Subject: Ann, news", "From: news@shop.example", "To: ann@example.com", "Dear Ann,"):
        assert line in result.stdout.splitlines()
    assert "3 recipients can be sent to; nothing was stored or sent" in result.stderr
    assert bulk.campaigns() == []


def test_a_dry_run_tells_all_mistakes(send, files):
    rows(files[1], "nobody,x", "ann@example.com,Ann")
    skipping = send("--dry-run")
    assert skipping.exit_code == 0
    assert "1 would be skipped" in skipping.stderr
    stopping = send("--dry-run", "--on-error", "stop")
    assert stopping.exit_code == 1
    assert "row 2" in stopping.stderr


def test_nothing_in_a_message_drives_the_terminal(send, files):
    rows(files[1], "ann@example.com,A\x1b[31mnn")
    assert "\x1b" not in send("--dry-run").output


def test_a_test_goes_to_the_seeds_alone(send, ledger):
    result = send("--test", "--seed", "me@example.com")
    assert result.exit_code == 0, result.output
    assert "test message: mailqueue status " in result.stderr
    assert bulk.campaigns() == []
    assert ledger().counts()["default"]["queued"] == 1


def test_a_test_wants_a_seed(send):
    result = send("--test")
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_recipients_come_on_standard_input(run, files):
    result = run("send", files[0], "-", "--yes", "--no-wait", text="email,name\nann@example.com,Ann\n")
    assert result.exit_code == 0, result.output
    assert bulk.status("spring-news").total == 1


def test_nobody_can_answer_on_standard_input(run, files):
    result = run("send", files[0], "-", text="email,name\nann@example.com,Ann\n")
    assert result.exit_code == 2
    assert "say --yes" in result.output


def test_the_same_again_adds_nobody(send):
    assert send("--yes").exit_code == 0
    result = send("--yes")
    assert result.exit_code == 0
    assert "it was complete already" in result.stderr
    assert bulk.status("spring-news").total == 2


def test_another_template_under_the_same_id_is_refused(send, files):
    send("--yes")
    files[0].write_text(TEMPLATE.replace("news.\n", "other news.\n"))
    result = send("--yes")
    assert result.exit_code == 1
    assert "use a new id" in result.stderr


def test_whoever_interrupts_the_loading_learns_how_to_go_on(send, monkeypatch):
    def interrupted(*_arguments, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "send", interrupted)
    result = send("--yes")
    assert result.exit_code == 130
    assert "With --campaign spring-news the same command goes on" in result.stderr
