"""How results are written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailqueue.ledger.results import REPLY_CHARACTERS, decode_results, encode_results
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=REPLY_CHARACTERS)
replies = st.builds(Reply, st.integers(200, 599), text)


@given(st.dictionaries(text, st.builds(Result, st.sampled_from(Verdict), replies)))
def test_what_was_written_is_read(results):
    assert decode_results(encode_results(results)) == results


def test_none_are_nothing():
    assert encode_results({}) == b""
    assert decode_results(b"") == {}


def test_operators_can_read_them():
    results = {"ann@example.com": Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok"))}
    assert encode_results(results) == b'{"ann@example.com":["a",250,"2.0.0 Ok"]}'


@given(st.text())
def test_any_text_of_a_reply_can_be_written(wild):
    (result,) = decode_results(encode_results({"a": Result(Verdict.REFUSED, Reply(550, wild))})).values()
    assert result.reply.code == 550
