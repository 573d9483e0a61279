"""The wire: what was written by any release is read by this one, and what nobody wrote harms nobody."""

from __future__ import annotations

import contextlib
import json
import zlib
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue import codec
from mailqueue.blobs import Blob, Octets
from mailqueue.bulkenvelope import BulkEnvelope
from mailqueue.charset import CharsetSpec
from mailqueue.codec import MAX_ENVELOPE_BYTES, Parcel, decode, encode
from mailqueue.envelope import Envelope
from mailqueue.errors import InvalidMessage, MessageTooLarge, UnsupportedVersion, WireError
from mailqueue.lanes import LANES
from mailqueue.mimetree import MimeHeader, MimeTree
from mailqueue.parts import Part

FIXTURES = Path(__file__).parent / "fixtures"

#: The envelope of the fixtures, with every field and every kind of part that version 1 has.
FULL = Envelope(
    id="018f00000000000000000000000000aa",
    created=1767225600.5,
    lane="urgent",
    relay="newsletter",
    on_unknown="hold",
    labels={"order": 7},
    kind="alternatives",
    subject="Grüße",
    body="text",
    from_email="Jö <f@example.com>",
    to=("t@example.com", None, ""),
    cc=("c@example.com",),
    bcc=("b@example.com",),
    reply_to=("r@example.com",),
    headers={"Date": "Thu, 01 Jan 2026 00:00:00 -0000", "Message-ID": "<1@example.com>", "X-Note": "n"},
    alternatives=(Part(type="text/html", content="<p>é</p>"),),
    attachments=(
        Part(name="a.bin", type="application/octet-stream", content=Octets(b"\x00\xff")),
        Part(name="b.pdf", type="application/pdf", content=Blob("ab" * 32, 40000)),
        Part(name="c.txt", type="text/plain", content=Blob("cd" * 32, 50000, text=True)),
        Part(
            bare=True,
            content=MimeTree(
                kind="base",
                headers=(MimeHeader("Content-Type", "image/png"), MimeHeader("Content-ID", "<x@y>")),
                payload="iVBORw==\n",
            ),
        ),
        Part(
            name="m.eml",
            type="message/rfc822",
            content=MimeTree(
                kind="message",
                headers=(MimeHeader("Subject", "café", "octets"),),
                parts=(
                    MimeTree(
                        kind="part", headers=(MimeHeader("To", "Jö <j@x>", "parsed"),), payload=Octets(b"caf\xe9")
                    ),
                ),
                preamble="p",
                epilogue="e",
                default_type="message/rfc822",
            ),
        ),
    ),
    encoding=CharsetSpec(
        input_charset="utf-8",
        header_encoding=3,
        body_encoding=1,
        output_charset="utf-8",
        input_codec="utf-8",
        output_codec="utf-8",
    ),
    mixed_subtype="related",
    alternative_subtype="related",
    extras={"tags": ["a"]},
)
RENDERED = Envelope(
    id="018f00000000000000000000000000ab",
    created=1767225600.0,
    kind="rendered",
    from_email="f@example.com",
    raw=Octets(b"Subject: s\r\n\r\nb\r\n"),
    rcpt=("t@example.com",),
    headers={"Message-ID": "<2@example.com>"},
)
#: A field that came later.
EXPIRING = Envelope(
    id="018f00000000000000000000000000ac",
    created=1767225600.0,
    expires_at=1767225900.5,
    subject="Your code",
    body="123456",
    from_email="f@example.com",
    to=("t@example.com",),
    headers={"Message-ID": "<3@example.com>"},
)
#: The envelope of the second version, with every field that it has.
BULK = BulkEnvelope(
    id="spring-sale~q1Vbx0Pz-_aB",
    created=1767225600.5,
    campaign="spring-sale",
    address="ann@example.com",
    data={"name": "Änn", "order": {"items": [1, 2.5, None]}},
    host="example.org",
    lane="default",
    relay="newsletter",
    on_unknown="resend",
    expires_at=1767229200.0,
)
SMALL = Envelope(id="1", created=1.0, body="b", to=("t@example.com",))


# -- envelopes


def test_version_1_is_read_for_ever():
    documents = json.loads((FIXTURES / "envelope_v1.json").read_text())
    assert [decode(json.dumps(document).encode()) for document in documents] == [FULL, RENDERED]
    assert decode(b64decode((FIXTURES / "envelope_v1.b64").read_bytes())) == FULL
    assert [decode(json.dumps(each).encode()) for each in later()] == [EXPIRING]


def later():
    """Documents with fields that version 1 did not have from the first."""
    return json.loads((FIXTURES / "envelope_v1_later.json").read_text())


def test_the_fixtures_have_every_field_of_version_1():
    documents = json.loads((FIXTURES / "envelope_v1.json").read_text()) + later()
    fields = {field for document in documents for field in document}
    # A new field: give it a default, leave these documents as they are, and add one that has it.
    assert fields | {"content_subtype"} == {"v", *Envelope.__struct_fields__}


def test_version_2_is_read_for_ever():
    documents = json.loads((FIXTURES / "envelope_v2.json").read_text())
    assert [decode(json.dumps(document).encode()) for document in documents] == [BULK]
    assert {field for document in documents for field in document} == {"v", *BulkEnvelope.__struct_fields__}


def test_a_campaigns_message_gets_its_message_id_from_its_id():
    """So that whoever is fed to the queue for a second time gets the same one."""
    assert BULK.message_id == "<spring-sale~q1Vbx0Pz-_aB@example.org>"
    assert BULK.date == "Thu, 01 Jan 2026 00:00:00 -0000"
    assert BULK.recipients() == ["ann@example.com"]
    assert (BULK.blobs(), BULK.sizes()) == ((), {})
    assert BULK.labels == {"campaign": "spring-sale"}


@pytest.mark.parametrize("envelope", [FULL, RENDERED, EXPIRING, SMALL, BULK])
def test_what_is_encoded_is_decoded(envelope):
    assert decode(encode(envelope)) == envelope


def test_an_encoded_envelope_says_its_version():
    assert json.loads(encode(SMALL))["v"] == 1
    assert json.loads(encode(BULK))["v"] == 2


@pytest.mark.parametrize("fast", [False, True])
def test_what_is_above_1_kb_is_compressed(fast, monkeypatch, missing):
    if not fast:
        monkeypatch.setattr(codec, "isal_zlib", None)
    elif codec.isal_zlib is None:
        missing("the extra `fast` is not installed")
    assert encode(SMALL)[:1] == b"{"
    for repeats in (100, 1400):
        large = msgspec.structs.replace(SMALL, body="words and more words " * repeats)
        assert len(encode(large)) < 400
        assert decode(encode(large)) == large
        assert json.loads(zlib.decompress(encode(large)))["v"] == 1


@pytest.mark.parametrize("version", [3, 0, "1", None, [1]])
def test_an_unknown_version_is_told_apart_from_garbage(version):
    with pytest.raises(UnsupportedVersion) as caught:
        decode(json.dumps({"v": version, "id": "1", "created": 1.0}).encode())
    assert caught.value.version == version


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"\x80\x04N.",  # a pickle
        b"x\x9c",
        zlib.compress(b"no JSON"),
        zlib.compress(b"{}" * 100)[:-4],
        b'{"v":1,"id":1,"created":1}',
        b'{"v":1,"id":"1","created":1,"kind":"other"}',
        b'{"v":2,"id":"1","created":1}',
        b'{"v":2,"id":"1","created":1,"campaign":"c","address":"a@b.c","data":[]}',
        b'{"v":1,"id":"1","created":1,"body":{"is":"blob","sha256":"../x","size":1}}',
        b'{"v":1,"id":"1","created":1,"body":{"is":"octets","data":"no base64!"}}',
        b'{"v":1,"id":"1","created":1,"subject":"\xff"}',
        b'{"v":1,"id":"1","created":1,"extras":' + b"[" * 100_000,
        b'{"v":1,"id":"1","created":1,"attachments":[{"content":'
        + b'{"is":"mime","kind":"base","parts":[' * 5000
        + b"]}" * 5000
        + b"}]}",
    ],
)
def test_what_is_no_envelope_is_a_wire_error(data):
    with pytest.raises(WireError):
        decode(data)


def test_a_decompression_bomb_is_not_unpacked():
    bomb = zlib.compress(b'{"v":1,"id":"1","created":1,"subject":"' + b" " * (MAX_ENVELOPE_BYTES * 4) + b'"}')
    with pytest.raises(WireError, match="too large"):
        decode(bomb)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_wire_error(data):
    for candidate in (data, b"{" + data, zlib.compress(data)):
        with pytest.raises(WireError):
            decode(candidate)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_gives_an_envelope_or_a_wire_error(position, value):
    data = bytearray(encode(FULL))
    data[position % len(data)] = value
    with contextlib.suppress(WireError):
        decode(bytes(data))


def test_what_has_no_utf8_form_is_refused():
    with pytest.raises(InvalidMessage, match="cannot be encoded"):
        encode(msgspec.structs.replace(SMALL, subject="\ud800"))


def test_attributes_without_end_are_refused():
    with pytest.raises(MessageTooLarge):
        encode(msgspec.structs.replace(SMALL, extras={"merge_data": "x" * MAX_ENVELOPE_BYTES}))


# -- parcels


PARCEL = Parcel("bulk", 12, (("1", encode(SMALL)), ("2", encode(FULL))))


@pytest.mark.parametrize(
    "parcel", [PARCEL, Parcel("urgent", 0), Parcel("default", 7, (("1", encode(SMALL)),), alone=True)]
)
def test_a_parcel_travels_as_json(parcel):
    assert Parcel.from_wire(json.loads(json.dumps(parcel.to_wire()))) == parcel


def test_ids_and_numbers_are_read_without_decoding_an_envelope():
    wire = PARCEL.to_wire()
    assert (wire["v"], wire["lane"], wire["number"]) == (1, "bulk", 12)
    assert [item[0] for item in wire["items"]] == ["1", "2"]


def test_one_undecodable_envelope_leaves_the_others_readable():
    wire = PARCEL.to_wire()
    wire["items"][0][1] = "%%%"
    (first, bad), (second, good) = Parcel.from_wire(wire).items
    assert (first, second) == ("1", "2")
    with pytest.raises(WireError):
        decode(bad)
    assert decode(good) == FULL


def test_every_lane_is_known_to_the_wire():
    assert [Parcel.from_wire(Parcel(lane, 1).to_wire()).lane for lane in LANES] == list(LANES)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "text",
        {},
        {"v": 1},
        {**PARCEL.to_wire(), "lane": "fast"},
        {**PARCEL.to_wire(), "number": "12"},
        {**PARCEL.to_wire(), "number": -1},
        {**PARCEL.to_wire(), "number": 2**60},
        {**PARCEL.to_wire(), "items": [["1"]]},
        {**PARCEL.to_wire(), "items": [["1\n", "{}"]]},
        {**PARCEL.to_wire(), "items": [["x" * 200, "{}"]]},
        {**PARCEL.to_wire(), "items": [[1, "{}"]]},
        {**PARCEL.to_wire(), "alone": "yes"},
    ],
)
def test_what_is_no_parcel_is_a_wire_error(wire):
    with pytest.raises(WireError):
        Parcel.from_wire(wire)


def test_an_unknown_version_of_a_parcel_is_told():
    with pytest.raises(UnsupportedVersion) as caught:
        Parcel.from_wire({**PARCEL.to_wire(), "v": 2})
    assert caught.value.version == 2


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
)


@given(
    st.fixed_dictionaries(
        {}, optional={"v": json_values, "lane": json_values, "number": json_values, "items": json_values}
    )
)
def test_no_json_raises_anything_but_a_wire_error(wire):
    with contextlib.suppress(WireError):
        Parcel.from_wire(wire)


# -- the body of a task


def body(*arguments):
    return json.dumps([list(arguments), {}, {"callbacks": None}])


@pytest.mark.parametrize("form", [str, str.encode])
def test_a_parcel_is_read_from_the_body_of_its_task(form):
    assert Parcel.from_body(form(body(PARCEL.to_wire()))) == PARCEL


def test_the_body_of_a_task_of_another_version_says_so():
    for version in (2, "2"):
        with pytest.raises(UnsupportedVersion):
            Parcel.from_body(body({**PARCEL.to_wire(), "v": version}))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "[[], {}, {}]", "[[7], {}, {}]", '[[{"v": 1}], {}, {}]', "[" * 10000]
)
def test_what_is_no_body_of_ours_is_a_wire_error(text):
    with pytest.raises(WireError):
        Parcel.from_body(text)
