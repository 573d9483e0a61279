"""Times that a message may be sent at: aware ones, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from mailqueue.errors import InvalidMessage
from mailqueue.schedule import ANY_TIME, schedule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = NOON.timestamp()


def test_no_options_are_any_time():
    assert schedule(None, None) is ANY_TIME
    assert ANY_TIME.expiry(NOW) == 0.0


@pytest.mark.parametrize(
    "moment",
    [NOON, NOON.astimezone(timezone(timedelta(hours=-5))), datetime(2026, 1, 1, 13, tzinfo=ZoneInfo("Europe/Paris"))],
)
def test_a_moment_is_the_same_in_every_zone(moment):
    assert schedule(moment, None).send_at == NOW
    assert schedule(None, moment).expiry(NOW - 60) == NOW


@pytest.mark.parametrize("name", ["send_at", "expires_at"])
def test_a_naive_time_is_told_with_the_way_to_make_it_aware(name):
    given = {"send_at": None, "expires_at": None, name: datetime(2026, 1, 1)}  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match=rf"^{name} .*no time zone") as caught:
        schedule(**given)
    assert isinstance(caught.value, InvalidMessage)
    for way in ("timezone.utc", "ZoneInfo", "make_aware"):
        assert way in str(caught.value)


@pytest.mark.parametrize("value", [NOW, "2026-01-01T12:00Z", date(2026, 1, 1)])
def test_what_is_no_time_is_a_type_error(value):
    with pytest.raises(TypeError, match="send_at is a datetime"):
        schedule(value, None)
    with pytest.raises(TypeError, match="a datetime with a time zone or a timedelta"):
        schedule(None, value)
    with pytest.raises(TypeError, match="send_at is a datetime"):
        schedule(timedelta(hours=1), None)


def test_a_span_counts_from_now_or_from_when_it_may_be_sent():
    hour = timedelta(hours=1)
    assert schedule(None, hour).expiry(NOW) == NOW + 3600
    assert schedule(NOON + hour, hour).expiry(NOW) == NOW + 7200
    assert schedule(NOON - hour, hour).expiry(NOW) == NOW + 3600


def test_what_could_never_be_sent_is_refused():
    for span in (timedelta(), timedelta(seconds=-1)):
        with pytest.raises(InvalidMessage, match="never sent"):
            schedule(None, span)
    with pytest.raises(InvalidMessage, match="not after send_at"):
        schedule(NOON, NOON)


def test_a_deadline_that_has_passed_is_none_of_ours():
    """It is dropped and reported by the ledger, like one that passes on the way."""
    assert schedule(None, NOON - timedelta(days=1)).expiry(NOW) == NOW - 86400
