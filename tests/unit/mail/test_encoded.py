"""Files in base64: the lines are those of the standard library, and no file is encoded twice while it is in use."""

from __future__ import annotations

import base64
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.mail import encoded
from mailqueue.mail.encoded import EncodedFiles, encode_lines

BLOCK = 57 * 256


@given(st.one_of(st.binary(max_size=200), st.integers(0, 3 * BLOCK).map(lambda size: (b"0123456789" * size)[:size])))
def test_the_lines_are_those_of_the_standard_library(content):
    assert b"".join(encode_lines(content)) == base64.encodebytes(content).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("more", [-1, 0, 1, 56, 57, 58])
def test_the_lines_are_right_around_the_end_of_a_block(blocks, more):
    content = bytes(max(0, blocks * BLOCK + more))
    assert b"".join(encode_lines(content)) == base64.encodebytes(content).replace(b"\n", b"\r\n")


@pytest.fixture
def made(monkeypatch):
    """How many octets were in each file that was encoded."""
    made = []
    monkeypatch.setattr(encoded, "encode_lines", lambda content: made.append(len(content)) or encode_lines(content))
    return made


def content(size, letter="a"):
    """A new object each time."""
    return (letter * size).encode()


def test_a_file_is_encoded_once_whoever_holds_it(made):
    files = EncodedFiles(10**6)
    first, again = files[content(10_000)], files[content(10_000)]
    assert first is again
    assert made == [10_000]


def test_a_small_file_is_not_kept(made):
    files = EncodedFiles(10**6)
    assert files[b"small"] == files[b"small"] == (b"c21hbGw=\r\n",)
    assert made == [5, 5]


def test_what_was_used_last_is_kept_up_to_the_limit(made):
    files = EncodedFiles(60_000)  # two of them with their base64
    for letter in "aabacab":
        files[content(10_000, letter)]
    assert made == [10_000] * 4  # a, b, c, and b again


def test_what_is_over_the_limit_alone_is_not_kept_and_drives_nothing_out(made):
    files = EncodedFiles(60_000)
    files[content(10_000)]
    files[content(100_000)]
    files[content(10_000)]
    assert made == [10_000, 100_000]


def test_threads_may_ask_for_the_same_file(made):
    files = EncodedFiles(60_000)  # so that they drive each other out
    gate = threading.Barrier(4)
    answers = []

    def ask():
        gate.wait()
        for _ in range(20):
            answers.extend((letter, b"".join(files[content(10_000, letter)])) for letter in "abcd")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 * 20 * 4
    assert {letter: base64.b64decode(octets) for letter, octets in answers} == {
        letter: content(10_000, letter) for letter in "abcd"
    }
    assert files._size <= 60_000
    assert files._size == sum(len(raw) + sum(map(len, lines)) for raw, lines in files._held.items())
