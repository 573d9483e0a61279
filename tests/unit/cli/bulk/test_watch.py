"""A campaign is told of so that one sees at a glance how far it is, how fast, and what it waits for."""

from __future__ import annotations

import io
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from mailqueue.bulk.loading import Loaded
from mailqueue.bulk.report import COUNTED, CampaignStatus
from mailqueue.cli.bulk import words
from mailqueue.cli.bulk.watch import Loading, Sending
from mailqueue.cli.bulk.words import Clock, sentence, tallies
from mailqueue.ledger.campaigns import CampaignState

NOW = 1_795_000_000.0  # 2026-11-18 12:06:40 in Paris, a Wednesday
PARIS = Clock(ZoneInfo("Europe/Paris"))


def status(state=CampaignState.RUNNING, sent=0, total=1000, now=NOW, **more):
    counts = dict.fromkeys(COUNTED, 0) | {"sent": sent, **more.pop("counts", {})}
    counts["waiting"] = total - sum(counts.values())
    return CampaignStatus("spring-news", state, "bulk", total, counts, now=now, **more)


class Terminal:
    """A screen on a console of this test's."""

    def __init__(self, make, *, terminal=False):
        self.now = 0.0
        self.file = io.StringIO()
        console = Console(file=self.file, width=120, force_terminal=terminal, highlight=False)
        self.screen = make(console, lambda: self.now)

    @property
    def lines(self):
        return self.file.getvalue().splitlines()


def sending(**more):
    return Terminal(lambda console, clock: Sending(PARIS, console, clock), **more)


def picture(screen, found):
    file = io.StringIO()
    Console(file=file, width=120).print(screen.look(found)[0])
    return file.getvalue()


def test_shows_how_far_how_fast_and_until_when():
    screen = Sending(PARIS)
    screen.look(status())
    shown = picture(screen, status(sent=200, counts={"failed": 3, "deferred": 2}, now=NOW + 2))
    assert "203 of 1,000  20 %" in shown
    assert "102/s, 8 s left, until about 12:06:49" in shown.replace("12:06:50", "12:06:49")
    assert "200 sent  3 refused  2 deferred  795 to go" in shown


def test_a_pause_says_how_to_go_on():
    shown = picture(Sending(PARIS), status(CampaignState.PAUSED, sent=10))
    assert "paused; `mailqueue bulk resume spring-news` goes on with the next recipient" in shown


def test_it_says_when_nothing_moves():
    screen = Sending(PARIS)
    screen.look(status(sent=10))
    assert "nothing has moved for a while" in picture(screen, status(sent=10, now=NOW + 20))


def test_elsewhere_than_on_a_terminal_it_speaks_every_few_seconds():
    terminal = sending()
    with terminal.screen as screen:
        for second in range(12):
            terminal.now = float(second)
            screen(status(sent=second * 10, now=NOW + second))
    assert len(terminal.lines) == 3
    assert terminal.lines[1].startswith("spring-news: 50 of 1,000 (5 %); 50 sent, 0 refused, 950 to go; 10/s, ")


def test_a_change_of_state_is_told_at_once():
    terminal = sending()
    with terminal.screen as screen:
        screen(status(sent=10))
        terminal.now = 0.5
        screen(status(CampaignState.PAUSED, sent=10))
        screen(status(CampaignState.PAUSED, sent=10))
    assert len(terminal.lines) == 2
    assert "paused" in terminal.lines[1]


def test_a_terminal_is_left_as_it_was():
    terminal = sending(terminal=True)
    with terminal.screen as screen:
        screen(status(sent=500))
    assert "500 of 1,000" in terminal.file.getvalue()
    assert terminal.file.getvalue().endswith("\x1b[2K")  # what was drawn is wiped away


def test_100_percent_is_said_of_all_alone():
    assert "99 %" in Sending(PARIS).look(status(sent=999))[1]


def test_loading_tells_its_rate_and_what_is_odd():
    terminal = Terminal(lambda console, clock: Loading(1000, console, clock))
    with terminal.screen as screen:
        screen(Loaded(0))
        terminal.now = 5.0
        screen(Loaded(500, 490, 1, 9))
    assert terminal.lines == ["checking: 0 recipients", "loading: 500 recipients, 100/s, 1 duplicate, 9 cannot be used"]
    assert screen.seconds == 5.0


def test_it_fits_a_usual_terminal():
    screen = Sending(PARIS)
    screen.look(status(total=1_000_000))
    counts = {"failed": 1000, "suppressed": 1000, "deferred": 100, "queued": 2000}
    lines = picture(screen, status(sent=500_000, total=1_000_000, counts=counts, now=NOW + 400)).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80, lines


def test_loading_goes_without_a_total():
    assert "1 recipient" in Loading(None).look(Loaded(1, 1))[1]


# -- What a campaign waits for


def test_a_start_to_come_is_told_on_the_right_clocks():
    found = status(CampaignState.SCHEDULED, start_at=NOW + 90_000)
    assert sentence(found, PARIS) == "starts Thursday 13:06:40 Europe/Paris (in 1 d 1 h)"
    assert "on 2026" not in sentence(found, PARIS)
    later = status(CampaignState.SCHEDULED, start_at=NOW + 20 * 86_400 + 20)
    assert sentence(later, PARIS).startswith("starts 2026-12-08 12:07 Europe/Paris")


def test_quiet_hours_end_on_the_clocks_of_their_zone(monkeypatch):
    monkeypatch.setattr(words, "_quiet_hours", lambda _campaign: "11:00-17:00 Europe/Paris")
    found = status(open_until=NOW - 1)
    assert sentence(found, Clock(ZoneInfo("Asia/Tokyo"))) == "quiet hours; goes on 17:00 Europe/Paris (in 4 h 53 min)"


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (CampaignState.LOADING, "its recipients are being loaded; nothing is sent yet"),
        (CampaignState.CANCELLED, "cancelled: who had not got it does not get it"),
        (CampaignState.RUNNING, ""),
    ],
)
def test_each_state_has_its_words(state, told):
    assert sentence(status(state)) == told


def test_an_end_tells_how_long_it_took():
    assert sentence(status(CampaignState.FINISHED, started_at=NOW, ended_at=NOW + 75)) == "finished after 1 min 15 s"


def test_on_one_line_all_that_are_to_come_are_one_number():
    found = status(sent=5, counts={"queued": 3, "held": 6})
    assert words.brief(found) == {"sent": 5, "refused": 0, "held": 6, "to go": 989}


def test_counts_have_the_names_that_senders_use():
    found = status(sent=5, counts={"partial": 1, "failed": 2, "queued": 3, "sending": 4, "held": 6})
    assert tallies(found) == {"sent": 6, "refused": 2, "held": 6, "sending": 7, "waiting": 979}
