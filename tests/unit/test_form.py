"""Tasks as they lie in a Redis broker's queue; what kombu really pushes is in tests/integration/test_publisher.py."""

from __future__ import annotations

import json

import pytest

from mailqueue.codec import Parcel
from mailqueue.form import Form, task_body

ITEMS = (("1", b'{"v":1,"subject":"\xc3\xa4 \\"quoted\\" \\\\ \\n"}'), ("2", b"x\x9c\x00\xff"))


def push(parcel, task_id, client):
    """Push a task as kombu does."""
    properties = {"delivery_tag": "tag-of-kombu", "correlation_id": task_id}
    client.lpush(
        f"q.{parcel.lane}", json.dumps({"body": task_body(parcel).decode(), "id": task_id, "properties": properties})
    )


def test_a_draft_is_the_task_around_its_number():
    draft = Form.of("bulk", push).draft(ITEMS)
    task = json.loads(draft.head + b"7" + draft.tail)
    [args, kwargs, embed] = json.loads(task["body"])
    assert draft.key == "q.bulk"
    assert Parcel.from_wire(args[0]) == Parcel("bulk", 7, ITEMS)
    assert (kwargs, embed) == ({}, {})


def test_each_draft_has_an_id_of_its_own_wherever_it_stands():
    form = Form.of("default", push)
    ids = set()
    for _ in range(2):
        draft = form.draft(ITEMS)
        task = json.loads(draft.head + b"7" + draft.tail)
        found = {task["id"], task["properties"]["correlation_id"], task["properties"]["delivery_tag"]}
        assert len(found) == 1
        ids |= found
    assert len(ids) == 2


def otherwise(parcel, task_id, client):
    client.pipeline()


def twice(parcel, task_id, client):
    push(parcel, task_id, client)
    push(parcel, task_id, client)


def as_no_json(parcel, task_id, client):
    client.lpush("q", "text")


def in_base64(parcel, task_id, client):
    client.lpush("q", json.dumps({"body": "W10=", "properties": {"delivery_tag": "t"}}))


@pytest.mark.parametrize("publish", [otherwise, twice, as_no_json, in_base64])
def test_what_is_pushed_in_a_way_that_we_do_not_know_has_no_form(publish):
    assert Form.of("default", publish) is None
