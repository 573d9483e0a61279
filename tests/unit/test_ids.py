from __future__ import annotations

from mailqueue.ids import new_id


def test_ids_are_unique_without_asking_anybody():
    assert len({new_id(1.0) for _ in range(10_000)}) == 10_000


def test_ids_sort_by_time():
    times = [0.001, 1.0, 1767225600.0, 1767225600.001, 4102444800.0]
    ids = [new_id(time) for time in times]
    assert ids == sorted(ids)


def test_ids_are_plain_text_of_one_length():
    assert {len(new_id(time)) for time in (0.0, 1767225600.0)} == {32}
    assert new_id(1767225600.0).isalnum()
