"""The suppression list in memory and in a store: whatever is done to both, both say the same."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailqueue.ledger.suppressions import Suppression

KEYS = st.sampled_from(
    ["ann@example.com", "Bob@Example.com", "@example.com", "@.example.com", "c@mail.example.com", "ü@bücher.example"]
)
LISTS = st.sampled_from(["", "news", "offers"])
WORDS = st.sampled_from(["unsubscribed", "refused", "", "=", "u", "a\tb", "my own", "x" * 70])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.lists(st.builds(Suppression, KEYS, LISTS, WORDS, WORDS, st.sampled_from([0.0, 5.9, 1.7e9])), max_size=4),
        ),
        st.tuples(st.just("remove"), st.lists(KEYS, max_size=3, unique=True), LISTS),
        st.tuples(st.just("find"), st.lists(KEYS, max_size=4, unique=True), LISTS),
        st.tuples(st.just("refused"), st.lists(KEYS, max_size=3, unique=True), st.sampled_from(["c1", "c2", "c3"])),
        st.tuples(st.just("page"), st.none() | LISTS),
        st.tuples(st.just("jump"), st.integers(1, 80)),
    ),
    max_size=25,
)


def everything(bench, name):
    found, cursor = set(), None
    while cursor != "":
        page, cursor = bench.ledger.suppressions.page(list=name, cursor=cursor or "", limit=3)
        found |= set(page)
    return found


def done(bench, step, *arguments):
    list_ = bench.ledger.suppressions
    if step == "add":
        return list_.add(arguments[0])
    if step == "remove":
        return list_.remove(arguments[0], list=arguments[1])
    if step == "find":
        return dict(list_.find(arguments[0], list=arguments[1]))
    if step == "refused":
        return dict(list_.refused(arguments[0], arguments[1], within=100))
    if step == "page":
        return everything(bench, arguments[0])
    return bench.jump(arguments[0])


@given(steps=STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_say_the_same(pair_on_fakeredis, steps):
    memory, stored = pair_on_fakeredis()
    for step in steps:
        if step[0] == "jump":  # they share a clock
            stored.jump(step[1])
            continue
        assert done(memory, *step) == done(stored, *step), step
    assert everything(memory, None) == everything(stored, None)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_still_comes_to_an_end(bench, limit):
    bench.ledger.suppressions.add([Suppression("ann@example.com"), Suppression("bob@example.com", "news")])
    cursor, pages = "", 0
    while True:
        _, cursor = bench.ledger.suppressions.page(cursor=cursor, limit=limit)
        pages += 1
        if not cursor:
            break
    assert pages <= 3
