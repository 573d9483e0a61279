"""Every ledger: a schedule is started by one owner at a time, for each moment that it is due once."""

from __future__ import annotations

import pytest


def put(bench, name="weekly", spec=b"{}", due_in=60.0):
    return bench.ledger.schedules.put(name, spec, bench.clock.now() + due_in)


def taken(bench, owner="w1"):
    found = bench.ledger.schedules.take(owner)
    return found and found.name


def test_a_schedule_is_kept_as_it_was_given(bench):
    assert put(bench, spec=b"\x00spec")
    (entry,) = bench.ledger.schedules.all()
    assert (entry.name, entry.spec, entry.owner) == ("weekly", b"\x00spec", "")
    assert entry.due_at == int(bench.clock.now() + 60)
    assert entry.now == pytest.approx(bench.clock.now(), abs=0.01)


def test_given_again_with_the_same_spec_it_stays_as_it_is(bench):
    put(bench)
    assert not put(bench, due_in=5)
    assert bench.ledger.schedules.all()[0].due_at == int(bench.clock.now() + 60)


def test_another_spec_makes_it_another_one(bench):
    put(bench)
    assert put(bench, spec=b"new", due_in=5)
    (entry,) = bench.ledger.schedules.all()
    assert (entry.spec, entry.due_at) == (b"new", int(bench.clock.now() + 5))


def test_all_come_in_the_order_in_which_they_are_due(bench):
    for name, due_in in (("c", 30), ("a", 20), ("b", 10)):
        put(bench, name, due_in=due_in)
    assert [entry.name for entry in bench.ledger.schedules.all()] == ["b", "a", "c"]


def test_it_is_not_taken_before_it_is_due(bench):
    put(bench)
    assert taken(bench) is None
    bench.jump(59)
    assert taken(bench) is None
    bench.jump(1.5)
    assert taken(bench) == "weekly"
    assert bench.ledger.schedules.all()[0].owner == "w1"


def test_nobody_else_takes_it_before_the_lease_ends(bench):
    put(bench, due_in=0)
    assert taken(bench) == "weekly"
    bench.jump(29)
    assert taken(bench, "w2") is None
    assert taken(bench) == "weekly"  # which renews the lease
    bench.jump(29)
    assert taken(bench, "w2") is None
    bench.jump(2)
    assert taken(bench, "w2") == "weekly"
    assert taken(bench, "w1") is None


def test_who_is_at_one_gets_no_other(bench):
    put(bench, "first", due_in=0)
    assert taken(bench) == "first"
    put(bench, "earlier", due_in=-60)
    assert taken(bench) == "first"
    assert taken(bench, "w2") == "earlier"


def test_who_cannot_start_one_gets_another(bench):
    put(bench, "first", due_in=-60)
    put(bench, "second", due_in=0)
    assert taken(bench) == "first"
    take = bench.ledger.schedules.take
    assert take("w1", without=["first"]).name == "second"
    assert take("w1", without=["first", "second"]) is None
    assert taken(bench, "w2") is None  # the lease of the first stands
    bench.jump(31)
    assert taken(bench, "w2") == "first"


def test_it_moves_on_once(bench):
    put(bench, due_in=0)
    entry = bench.ledger.schedules.take("w1")
    assert bench.ledger.schedules.move("weekly", entry.due_at, entry.due_at + 60)
    assert not bench.ledger.schedules.move("weekly", entry.due_at, entry.due_at + 120)
    (moved,) = bench.ledger.schedules.all()
    assert (moved.due_at, moved.owner) == (entry.due_at + 60, "")
    assert taken(bench) is None
    bench.jump(61)
    assert taken(bench, "w2") == "weekly"


def test_a_lease_of_another_time_binds_nobody(bench):
    put(bench, due_in=-3600)
    assert taken(bench) == "weekly"
    bench.jump(-1000)
    assert taken(bench, "w2") == "weekly"


def test_what_is_dropped_is_gone(bench):
    put(bench, due_in=0)
    assert bench.ledger.schedules.drop("weekly")
    assert not bench.ledger.schedules.drop("weekly")
    assert bench.ledger.schedules.all() == []
    assert taken(bench) is None
    assert not bench.ledger.schedules.move("weekly", 0, 1)
