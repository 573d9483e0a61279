"""Chunks: recipients as they wait in the ledger."""

from __future__ import annotations

import zlib

import msgspec
import pytest

from mailqueue.bulk.chunks import (
    CHUNK_OCTETS,
    CHUNK_RECIPIENTS,
    ChunkBuilder,
    decode_chunk,
    encode_chunk,
    encode_recipient,
    is_again,
)
from mailqueue.errors import InvalidMessage, WireError

DATA = {"name": "Änn", "order": {"items": [1, 2.5, None, True]}}


def test_what_is_encoded_is_decoded():
    (one, two) = decode_chunk(encode_chunk([encode_recipient("a@example.com", DATA), encode_recipient("b@c.d", {})]))
    assert (one[0], msgspec.json.decode(one[1])) == ("a@example.com", DATA)
    assert (two[0], msgspec.json.decode(two[1])) == ("b@c.d", {})


def test_one_that_repeats_others_says_so():
    assert not is_again(encode_chunk([]))
    assert is_again(encode_chunk([], again=True))
    assert decode_chunk(encode_chunk([], again=True)) == []


def test_the_same_recipients_make_the_same_octets():
    """By which the ledger knows a chunk that is given again, its first answer lost."""
    recipients = [encode_recipient(f"p{n}@example.com", DATA) for n in range(50)]
    assert encode_chunk(recipients) == encode_chunk(recipients)


def test_two_hundred_with_little_data_take_a_few_octets_each():
    recipients = [encode_recipient(f"p{n}@example.com", {"name": f"Person {n}"}) for n in range(CHUNK_RECIPIENTS)]
    assert len(encode_chunk(recipients)) < 12 * CHUNK_RECIPIENTS


@pytest.mark.parametrize("data", [{"x": object()}, {"x": "\ud800"}])
def test_data_that_json_cannot_carry_is_refused(data):
    with pytest.raises(InvalidMessage, match="cannot be written as JSON"):
        encode_recipient("a@example.com", data)


def test_too_much_of_it_is_refused():
    with pytest.raises(InvalidMessage, match="belongs in the template"):
        encode_recipient("a@example.com", {"x": "x" * CHUNK_OCTETS})


@pytest.mark.parametrize(
    "content",
    [b"", b"=", b"=x", b"=" + zlib.compress(b"{}"), b"=" + zlib.compress(b"[[1,2]]"), encode_chunk([b'["a",1]'])[:-3]],
)
def test_what_is_no_chunk_is_a_wire_error(content):
    with pytest.raises(WireError):
        decode_chunk(content)


def test_a_decompression_bomb_is_not_unpacked():
    with pytest.raises(WireError, match="too large"):
        decode_chunk(b"=" + zlib.compress(b'[["' + b"a" * 20_000_000 + b'",{}]]'))


def test_a_chunk_is_full_by_number_or_by_size():
    builder = ChunkBuilder()
    for number in range(CHUNK_RECIPIENTS):
        assert builder.has_room(b"x")
        builder.add(str(number), b"x")
    assert not builder.has_room(b"x")
    large = ChunkBuilder()
    assert large.has_room(b"x" * CHUNK_OCTETS)
    large.add("1", b"x" * CHUNK_OCTETS)
    assert not large.has_room(b"x")
    large.drop(["1", "2"])
    assert len(large) == 0
    assert large.has_room(b"x" * CHUNK_OCTETS)
