"""The retry policy between attempts, for each lane and relay."""

from __future__ import annotations

import pytest

from mailqueue import conf
from mailqueue.retry import Policies, RetryPolicy


def test_the_default_schedule_is_that_of_the_docstring():
    policy = RetryPolicy()
    expected = [60, 300, 900, 1800, 3600, 7200, 14400, 14400, 14400]
    for attempt, delay in enumerate(expected, start=1):
        assert delay <= policy.decide(attempt, age=0) <= delay * 1.1


def test_delays_are_jittered():
    policy = RetryPolicy()
    assert len({policy.decide(1, age=0) for _ in range(20)}) > 1


def test_the_maximum_age_ends_it():
    policy = RetryPolicy(max_age=100)
    assert policy.decide(1, age=99) is not None
    assert policy.decide(1, age=100) is None


@pytest.mark.parametrize(
    ("delays", "max_age"),
    [
        (RetryPolicy().delays, RetryPolicy().max_age),
        ((60,), 1),
        ((60,), 60),
        ((60,), 61),
        ((10, 20), 100),
        ((10, 20, 3000), 25),
    ],
)
def test_the_number_of_attempts_is_what_comes_of_it(delays, max_age, monkeypatch):
    monkeypatch.setattr("random.random", lambda: 0.0)
    policy = RetryPolicy(delays, max_age)
    attempt, age = 1, 0.0
    while (delay := policy.decide(attempt, age)) is not None:
        attempt, age = attempt + 1, age + delay
    assert policy.attempts() == attempt


def test_without_settings_of_their_own_all_lanes_and_relays_are_alike():
    conf.configure(MAILQUEUE_RETRY_DELAYS=[5, 10], MAILQUEUE_MAX_AGE=50)
    policies = Policies()
    for lane in ("urgent", "bulk"):
        for relay in ("", "office"):
            assert policies.of(lane, relay) == RetryPolicy((5, 10), 50)


def test_a_relay_has_its_own_before_its_lane_and_a_lane_before_all():
    conf.configure(
        MAILQUEUE_RETRY_DELAYS=[5],
        MAILQUEUE_MAX_AGE=500,
        MAILQUEUE_LANES={"urgent": {"retry_delays": [1, 2], "max_age": 60}, "bulk": {"max_age": 9000}},
        MAILQUEUE_RELAYS={"slow": {"retry_delays": [600]}, "default": {"max_age": 30}},
    )
    policies = Policies()
    assert policies.of("urgent", "office") == RetryPolicy((1, 2), 60)
    assert policies.of("urgent", "slow") == RetryPolicy((600,), 60)
    assert policies.of("urgent", "") == RetryPolicy((1, 2), 30)
    assert policies.of("bulk", "office") == RetryPolicy((5,), 9000)
    assert policies.of("default", "slow") == RetryPolicy((600,), 500)
