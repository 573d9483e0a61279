"""Long-lived connections: when they are reused, and when they are not."""

from __future__ import annotations

import threading
import time

import pytest

from workers.connections import REFUSED_FOR, Connections, Limits


class Backend:
    def __init__(self):
        self.connected = False
        self.opened = 0
        self.closed = 0
        self.alive = True
        self.probed = 0

    def open(self):
        if self.connected:
            return False
        self.connected = True
        self.opened += 1
        return True

    def close(self):
        if self.connected:
            self.connected = False
            self.closed += 1

    def probe(self):
        self.probed += 1
        return self.alive


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def built():
    return []


@pytest.fixture
def connections(clock, built):
    def build(_relay):
        built.append(Backend())
        return built[-1]

    return Connections(build, lambda _relay: Limits(idle=30, messages=3, age=300, probe_after=1), clock)


def use(connections, messages=0, relay=""):
    with connections.use(relay) as connection:
        connection.backend.open()
        for _ in range(messages):
            connection.count()
    return connection.backend


def test_a_connection_is_opened_once_and_reused(connections):
    first = use(connections)
    assert use(connections) is first
    assert (first.opened, first.closed) == (1, 0)


def test_each_relay_has_its_own(connections, built):
    use(connections, relay="a")
    use(connections, relay="b")
    assert len(built) == 2


def test_those_who_use_one_at_the_same_time_have_one_each(connections, built):
    with connections.use("") as one, connections.use("") as other:
        assert one.backend is not other.backend
    assert len(built) == 2


def test_the_one_that_was_used_last_is_lent_first_so_that_the_others_idle(connections, clock):
    with connections.use("") as kept:
        kept.backend.open()
        with connections.use("") as spare:
            spare.backend.open()
    for _ in range(2):
        clock.now += 20
        with connections.use("") as again:
            assert again is kept
    connections.close_idle()
    assert (kept.backend.closed, spare.backend.closed) == (0, 1)


def test_an_open_one_is_lent_before_one_that_was_refused_since(connections):
    served = []

    def use_two():
        with connections.use(""):
            with connections.use("") as one:
                served.append(one)
            raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        use_two()
    with connections.use("") as again:
        assert again is served[0]


def test_a_connection_that_one_thread_has_used_is_free_for_others(connections, built):
    thread = threading.Thread(target=use, args=(connections,))
    thread.start()
    thread.join()
    use(connections)
    assert len(built) == 1


def test_a_relay_that_refused_connections_is_asked_for_fewer_for_a_while(built, clock):
    connections = Connections(lambda _relay: Backend(), lambda relay: Limits(at_once=8 if relay else 1), clock)
    assert (connections.at_once(""), connections.at_once("far")) == (1, 8)
    connections.refused("far", 3)
    connections.refused("", 0)
    assert (connections.at_once(""), connections.at_once("far")) == (1, 3)
    clock.now += REFUSED_FOR
    assert connections.at_once("far") == 8


def test_after_the_limit_of_messages_it_is_closed_and_the_next_use_opens_another(connections):
    backend = use(connections, messages=3)
    assert backend.closed == 1
    use(connections)
    assert backend.opened == 2


def test_past_the_age_limit_it_is_reopened(connections, clock):
    backend = use(connections)
    for _ in range(11):
        clock.now += 29
        use(connections)
    assert (backend.opened, backend.closed) == (2, 1)


def test_past_the_idle_limit_it_is_reopened_without_a_probe(connections, clock):
    backend = use(connections)
    clock.now += 30
    use(connections)
    assert (backend.opened, backend.probed) == (2, 0)


def test_after_a_pause_it_is_probed(connections, clock):
    backend = use(connections)
    clock.now += 2
    use(connections)
    assert (backend.opened, backend.probed) == (1, 1)


def test_a_failed_probe_reopens_it(connections, clock):
    backend = use(connections)
    backend.alive = False
    clock.now += 2
    use(connections)
    assert backend.opened == 2


def test_without_a_pause_it_is_not_probed(connections):
    use(connections)
    assert use(connections).probed == 0


def test_it_tells_how_many_messages_went_over_it_since_it_was_opened(connections):
    use(connections, messages=2)
    with connections.use("") as connection:
        assert connection.messages == 2
    with pytest.raises(RuntimeError), connections.use(""):
        raise RuntimeError("surprise")
    with connections.use("") as connection:
        assert connection.messages == 0


def test_an_exception_inside_closes_it(connections):
    backend = use(connections)
    with pytest.raises(RuntimeError), connections.use(""):
        raise RuntimeError("surprise")
    assert backend.closed == 1


def test_idle_ones_are_closed_from_outside(connections, clock):
    backend = use(connections)
    clock.now += 29
    connections.close_idle()
    assert backend.closed == 0
    clock.now += 1
    connections.close_idle()
    connections.close_idle()
    assert backend.closed == 1


def test_what_was_learned_of_a_relay_outlives_an_idle_connection(connections, clock, built):
    backend = use(connections)
    clock.now += 30
    connections.close_idle()
    assert use(connections) is backend
    assert (backend.opened, len(built)) == (2, 1)


def test_one_in_use_is_not_closed_as_idle(connections, clock):
    with connections.use("") as connection:
        connection.backend.open()
        clock.now += 100
        connections.close_idle()
        assert connection.backend.closed == 0


def test_one_that_is_being_closed_as_idle_is_not_waited_for(connections, clock, built):
    frozen = use(connections)
    closing, thawed = threading.Event(), threading.Event()

    def close():
        closing.set()
        thawed.wait(10)

    frozen.close = close
    clock.now += 30
    closer = threading.Thread(target=connections.close_idle)
    closer.start()
    assert closing.wait(10)
    another = use(connections)
    assert another is not frozen
    thawed.set()
    closer.join()
    assert use(connections) is another, "one is enough"


def test_close_all_waits_for_frozen_relays_no_longer_than_it_is_told(connections, built):
    thawed = threading.Event()
    for relay in "abc":
        use(connections, relay=relay).close = lambda: thawed.wait(10)
    well = use(connections, relay="d")
    started = time.monotonic()
    connections.close_all(wait=0.3)
    assert time.monotonic() - started < 5
    assert well.closed == 1
    thawed.set()


def test_close_all_closes_every_one(connections, built):
    use(connections, relay="a")
    use(connections, relay="b")
    connections.close_all()
    assert [backend.closed for backend in built] == [1, 1]


def test_a_close_that_raises_harms_nobody(connections, caplog):
    backend = use(connections)
    backend.close = lambda: 1 / 0
    connections.close_all()
    assert "action=close_failed" in caplog.text


def test_a_backend_that_can_only_send_is_used_as_it_is(clock):
    connections = Connections(lambda _relay: object(), clock=clock)
    for pause in (0, 5, 50):
        clock.now += pause
        with connections.use(""):
            pass
    connections.close_all()
