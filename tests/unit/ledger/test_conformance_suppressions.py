"""Every ledger: the suppression list, by address and domain, for one list or all bulk mail."""

from __future__ import annotations

import pytest

from mailqueue.errors import InvalidMessage
from mailqueue.ledger.suppressions import Suppression, covering, key_of, list_of


def add(bench, *keys, **fields):
    return bench.ledger.suppressions.add([Suppression(key, **fields) for key in keys])


def find(bench, *addresses, list=""):  # noqa: A002
    return bench.ledger.suppressions.find(addresses, list=list)


def all_of(bench, list=None, limit=1000):  # noqa: A002
    """Every entry, page by page; how many pages there were."""
    found, cursor, pages = [], "", 0
    while True:
        page, cursor = bench.ledger.suppressions.page(list=list, cursor=cursor, limit=limit)
        found += page
        pages += 1
        assert pages < 100
        if not cursor:
            return found, pages


def test_nobody_is_suppressed_at_first(bench):
    assert find(bench, "ann@example.com") == {}
    assert find(bench, list="news") == {}
    assert all_of(bench) == ([], 1)
    assert all_of(bench, "news") == ([], 1)


def test_an_address_for_all_bulk_mail_is_so_on_every_list(bench):
    assert add(bench, "Ann@Example.com", reason="complaint", source="postmaster") == 1
    entry = Suppression("ann@example.com", "", "complaint", "postmaster", bench.clock.now())
    assert find(bench, "ann@example.com") == {"ann@example.com": entry}
    assert find(bench, "ANN@example.COM", "bob@example.com", list="news") == {"ANN@example.COM": entry}


def test_an_address_of_one_list_is_so_on_that_alone(bench):
    add(bench, "ann@example.com", list="news")
    assert find(bench, "ann@example.com", list="news")["ann@example.com"].list == "news"
    assert find(bench, "ann@example.com", list="offers") == {}
    assert find(bench, "ann@example.com") == {}


def test_what_is_there_stays_as_it_is(bench):
    assert add(bench, "ann@example.com", reason="complaint", at=5.0) == 1
    assert add(bench, "ann@example.com", "bob@example.com", reason="manual") == 1
    assert find(bench, "ann@example.com")["ann@example.com"].reason == "complaint"
    assert find(bench, "ann@example.com")["ann@example.com"].at == 5.0


@pytest.mark.parametrize(
    ("entry", "suppressed", "free"),
    [
        ("@example.com", ["ann@example.com", "bob@EXAMPLE.com"], ["ann@mail.example.com", "ann@example.com.org"]),
        ("@.example.com", ["ann@mail.example.com", "a@b.c.example.com"], ["ann@example.com", "a@badexample.com"]),
        ("@bücher.example", ["ann@bücher.example", "ann@xn--bcher-kva.example"], ["ann@bucher.example"]),
        ("ann@example.com", ["ann@example.com"], ["ann+news@example.com", "joann@example.com"]),
    ],
)
def test_a_domain_is_that_alone_and_with_a_dot_what_is_below_it(bench, entry, suppressed, free):
    add(bench, entry)
    assert sorted(find(bench, *suppressed, *free)) == sorted(suppressed)


def test_the_nearest_entry_is_told(bench):
    add(bench, "@example.com", reason="domain")
    add(bench, "ann@example.com", reason="address")
    assert find(bench, "ann@example.com")["ann@example.com"].reason == "address"
    add(bench, "@example.com", list="news", reason="list")
    assert find(bench, "ann@example.com", list="news")["ann@example.com"].reason == "list"


def test_what_is_removed_is_gone_from_that_list_alone(bench):
    add(bench, "ann@example.com", "bob@example.com", list="news")
    add(bench, "ann@example.com")
    assert bench.ledger.suppressions.remove(["ANN@example.com", "nobody@example.com"], list="news") == 1
    assert find(bench, "ann@example.com", list="news")["ann@example.com"].list == ""
    assert bench.ledger.suppressions.remove(["ann@example.com"]) == 1
    assert find(bench, "ann@example.com", list="news") == {}
    assert bench.ledger.suppressions.remove([]) == 0
    assert bench.ledger.suppressions.remove(["ann@example.com"], list="nowhere") == 0


def test_nothing_is_left_of_a_list_without_entries(stored):
    add(stored, "ann@example.com", list="news")
    stored.ledger.suppressions.remove(["ann@example.com"], list="news")
    assert list(stored.client.scan_iter()) == []


def test_every_key_is_under_the_hash_tag(stored):
    add(stored, "ann@example.com", list="news")
    add(stored, "ann@example.com")
    stored.ledger.suppressions.refused(["ann@example.com"], "spring", within=10)
    assert sorted(stored.client.scan_iter()) == [
        b"{mailqueue}:refused:ann@example.com",
        b"{mailqueue}:suppressed",
        b"{mailqueue}:suppressed:",
        b"{mailqueue}:suppressed:news",
    ]


def test_pages_tell_every_entry(bench):
    add(bench, *(f"u{number}@example.com" for number in range(700)))
    add(bench, *(f"u{number}@example.com" for number in range(5)), list="news")
    add(bench, "@example.org", list="offers")
    found, pages = all_of(bench, limit=100)
    assert pages > 3
    assert len({(entry.list, entry.key) for entry in found}) == 706
    assert {entry.key for entry in all_of(bench, "")[0]} == {f"u{number}@example.com" for number in range(700)}
    assert [entry.key for entry in all_of(bench, "offers")[0]] == ["@example.org"]


def test_an_entry_that_stays_is_told_whatever_changes_meanwhile(bench):
    add(bench, *(f"u{number}@example.com" for number in range(600)), list="m")
    page, cursor = bench.ledger.suppressions.page(limit=50)
    told = {entry.key for entry in page}
    add(bench, *(f"v{number}@example.com" for number in range(2000)), list="m")
    add(bench, "a@example.com", list="a")
    gone = [f"u{number}@example.com" for number in range(0, 600, 2)]
    bench.ledger.suppressions.remove(gone, list="m")
    while cursor:
        page, cursor = bench.ledger.suppressions.page(cursor=cursor, limit=500)
        told |= {entry.key for entry in page}
    assert told >= {f"u{number}@example.com" for number in range(1, 600, 2)}


def test_a_list_that_ends_while_it_is_read_ends_the_reading_of_it_alone(bench):
    add(bench, *(f"u{number}@example.com" for number in range(600)), list="m")
    add(bench, "z@example.com", list="z")
    _, cursor = bench.ledger.suppressions.page(limit=50)
    bench.ledger.suppressions.remove([f"u{number}@example.com" for number in range(600)], list="m")
    told = []
    while cursor:
        page, cursor = bench.ledger.suppressions.page(cursor=cursor, limit=50)
        told += page
    assert [entry.key for entry in told] == ["z@example.com"]


def test_a_thousand_are_found_in_one_call(bench):
    addresses = [f"u{number}@d{number}.example.com" for number in range(1000)]
    add(bench, *addresses[::2])
    assert sorted(find(bench, *addresses, list="news")) == sorted(addresses[::2])


def test_reasons_and_sources_are_kept_on_a_short_line(bench):
    add(bench, "a@example.com", reason="said\tso\non the phone", source="x" * 100)
    add(bench, "b@example.com", reason="unsubscribed")
    add(bench, "c@example.com", reason="ü" * 60, source="")
    add(bench, "d@example.com", reason="", source="nobody knows")
    found = find(bench, *(f"{each}@example.com" for each in "abcd"))
    assert [(each.reason, each.source) for each in found.values()] == [
        ("said so on the phone", "x" * 64),
        ("unsubscribed", ""),
        ("ü" * 32, ""),
        ("", "nobody knows"),
    ]
    assert {entry.key for entry in all_of(bench)[0]} == {f"{each}@example.com" for each in "abcd"}


@pytest.mark.parametrize("name", ["News", "a b", "-a", "a-", "x" * 65, "a:b", "a\n", "{a}"])
def test_a_list_that_cannot_be_called_so_is_refused_and_nothing_is_added(bench, name):
    with pytest.raises(InvalidMessage, match="no name of a list"):
        bench.ledger.suppressions.add([Suppression("ann@example.com"), Suppression("bob@example.com", name)])
    assert find(bench, "ann@example.com") == {}


@pytest.mark.parametrize("name", ["", "a", "news", "news.example.com", "2024_offers", "x" * 64])
def test_others_can_be_called_so(name):
    assert list_of(name) == name


def test_a_campaign_counts_once_for_an_address_that_it_was_refused_for(bench):
    refused = bench.ledger.suppressions.refused
    assert refused(["Ann@example.com", "bob@example.com"], "spring", within=100) == {
        "Ann@example.com": 1,
        "bob@example.com": 1,
    }
    assert refused(["ann@example.com"], "spring", within=100) == {"ann@example.com": 1}
    assert refused(["ann@example.com"], "summer", within=100) == {"ann@example.com": 2}
    assert refused([], "summer", within=100) == {}


def test_refusals_are_forgotten_after_their_time(bench):
    refused = bench.ledger.suppressions.refused
    refused(["ann@example.com"], "spring", within=100)
    bench.jump(60)
    assert refused(["ann@example.com"], "summer", within=100) == {"ann@example.com": 2}
    bench.jump(101)
    assert refused(["ann@example.com"], "autumn", within=100) == {"ann@example.com": 1}


def test_keys_are_lower_case_ascii():
    assert key_of(" Ann@Example.COM ") == "ann@example.com"
    assert key_of("ann@Bücher.example") == "ann@xn--bcher-kva.example"
    assert key_of("ann@" + "ü" * 300) == "ann@" + "ü" * 300
    assert covering("ann@a.example.com") == ["ann@a.example.com", "@a.example.com", "@.example.com", "@.com"]
    assert covering("ann") == ["ann"]
