"""The window follows what the relay answers, the way there and back, and what it takes to write more."""

from __future__ import annotations

import itertools

import pytest

from mailqueue.smtp.window import Window


class Relay:
    """A relay that answers ``rate`` messages a second, ``trip`` s away; time passes as it is told."""

    def __init__(self, trip, rate, *, turn=0.0002, limit=None):
        self.now = 100.0
        self.rate, self.turn = rate, turn
        self.window = Window(limit, clock=lambda: self.now)
        self.moves(trip)

    def moves(self, trip):
        """The name leads to another host from now on."""
        self.trip = trip
        self.window.connected()
        self.window.begins()
        self.window.written()
        self.window.trip(trip)

    def serve(self, rounds):
        sizes = []
        for _ in range(rounds):
            size = self.window.size
            answered = max(1, size // 2)  # it is refilled then
            self.now += max(answered / self.rate, (self.trip + self.turn) * answered / size)  # or it has run dry
            self.window.heard(answered)
            self.now += self.turn
            self.window.written()
            sizes.append(size)
        return sizes


def test_it_begins_small_and_doubles_with_each_round():
    sizes = Relay(0.02, 10_000).serve(16)
    assert sizes[0] == 2
    assert sizes[-1] == 128
    assert all(later <= 2.2 * earlier for earlier, later in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    ("trip", "rate", "least", "most"),
    [
        pytest.param(0.02, 10_000, 128, 128, id="far-and-fast"),
        pytest.param(0.0001, 20_000, 64, 128, id="near-and-fast"),
        pytest.param(0.02, 200, 8, 16, id="far-and-slow"),
        pytest.param(0.0001, 200, 2, 4, id="near-and-slow"),
        pytest.param(0.0001, 1, 2, 2, id="near-and-very-slow"),
    ],
)
def test_it_is_what_keeps_the_relay_busy(trip, rate, least, most):
    assert least <= Relay(trip, rate).serve(200)[-1] <= most


@pytest.mark.parametrize(("rate", "group"), [(10_000, 32), (1_000, 16)])
def test_far_away_a_window_goes_out_in_parts(rate, group):
    relay = Relay(0.02, rate, turn=0.004)
    relay.serve(100)
    assert relay.window.group == group


def test_nearby_a_window_goes_out_as_one():
    relay = Relay(0.0001, 20_000)
    relay.serve(100)
    assert relay.window.group == relay.window.size > 64


def test_a_limit_is_kept():
    assert max(Relay(0.02, 10_000, limit=7).serve(50)) == 7
    assert max(Relay(0.2, 10_000, limit=500).serve(2000)) == 500
    assert Window(1).size == 1


def test_after_a_loss_it_begins_anew():
    relay = Relay(0.02, 10_000)
    relay.serve(50)
    relay.window.shrink()
    assert relay.window.size == 2


def test_the_shortest_trip_counts():
    relay = Relay(0.02, 1000)
    relay.serve(50)
    size = relay.window.size
    relay.window.trip(5.0)
    assert relay.window.size == size
    relay.window.trip(0.0001)
    assert relay.window.size < size


def test_each_connection_has_a_trip_of_its_own():
    relay = Relay(0.001, 5000)
    relay.serve(100)
    relay.moves(0.05)
    assert relay.serve(100)[-1] == 128
    relay.moves(0.001)
    assert relay.serve(100)[-1] < 64


def test_a_relay_that_takes_one_at_a_time_may_take_many_on_the_next_connection():
    relay = Relay(0.02, 5000)
    relay.serve(100)
    relay.window.connected()  # it offers PIPELINING alone there: no trip is measured
    relay.rate = 50
    relay.serve(100)
    assert relay.window.size == 2
    relay.rate = 5000
    relay.moves(0.02)
    assert relay.serve(100)[-1] == 128


def test_a_rest_is_no_measure():
    relay = Relay(0.0001, 5000)
    relay.serve(50)
    size = relay.window.size
    relay.now += 1000
    relay.window.begins()
    relay.window.written()
    assert relay.serve(3)[-1] >= size // 2
