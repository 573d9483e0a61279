"""Connections that are held: used again, never with an answer left in them, never those of another process."""

from __future__ import annotations

import os
from collections import deque

import pytest
from redis.exceptions import ConnectionError as LinkError
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.exceptions import TimeoutError as SilentError

from mailqueue.ledger.client import Client
from mailqueue.ledger.states import State


def words(packed):
    """The words of a command as the store reads it, by their lengths."""
    count, _, rest = packed.partition(b"\r\n")
    found = []
    while rest:
        length, _, rest = rest.partition(b"\r\n")
        assert length[:1] == b"$"
        end = int(length[1:])
        found.append(rest[:end])
        assert rest[end : end + 2] == b"\r\n"
        rest = rest[end + 2 :]
    assert count == b"*%d" % len(found)
    return tuple(found)


class Link:
    """A connection whose answers are its commands, but for what ``pool.answers`` has next: raised, if it is an error."""

    def __init__(self, pool):
        self.pool = pool
        self.unread = deque()
        self.open = True
        self.dead = False

    def send_packed_command(self, packed):
        assert self.open
        command = words(b"".join(packed))
        self.unread.append(self.pool.answers.popleft() if self.pool.answers else command)

    def read_response(self):
        answer = self.unread[0]
        if isinstance(answer, BaseException):
            if isinstance(answer, NoScriptError | ReadOnlyError):
                self.unread.popleft()
            raise answer
        return self.unread.popleft()

    def can_read(self):
        if self.dead:
            raise LinkError
        return bool(self.unread)

    def disconnect(self):
        self.open = False


class Pool:
    """``response_callbacks`` and ``connection_pool`` make it a client of redis-py as well."""

    def __init__(self):
        self.made, self.released, self.answers = [], [], deque()
        self.response_callbacks = {"PING": lambda answer: ("called back with", *answer)}
        self.connection_pool = self

    def get_connection(self):
        self.made.append(Link(self))
        return self.made[-1]

    def release(self, link):
        self.released.append(link)


@pytest.fixture
def pool():
    return Pool()


@pytest.fixture
def client(pool):
    return Client(pool)


def two_idle(client, pool):
    """Have two connections idle."""
    first = client.get_connection()
    client.execute_command("GET", "a")
    client.release(first)
    assert len(pool.made) == 2


def test_one_connection_is_used_again_and_again(client, pool):
    assert [client.execute_command("GET", n) for n in range(3)] == [(b"GET", b"0"), (b"GET", b"1"), (b"GET", b"2")]
    assert len(pool.made) == 1


def test_a_command_is_sent_in_one_piece_whatever_is_in_it(client, pool):
    command = ("CONFIG GET", "\u00e4\r\n", b"\r\n\x00\xff", 2**53, State.QUEUED, "", b"x" * 100_000)
    sent = client.execute_command(*command)
    assert sent == (
        b"CONFIG",
        b"GET",
        b"\xc3\xa4\r\n",
        b"\r\n\x00\xff",
        b"9007199254740992",
        b"queued",
        b"",
        command[-1],
    )


def test_answers_are_what_redis_py_makes_of_them(client, pool):
    assert client.execute_command("PING") == ("called back with", b"PING")


def test_a_refusal_is_an_answer_after_which_the_connection_stays(client, pool):
    pool.answers.append(NoScriptError())
    with pytest.raises(NoScriptError):
        client.execute_command("EVALSHA")
    assert client.execute_command("GET", 1) == (b"GET", b"1")
    assert len(pool.made) == 1


@pytest.mark.parametrize("error", [LinkError(), SilentError(), OSError()])
def test_after_trouble_with_one_connection_all_idle_ones_are_given_up(client, pool, error):
    two_idle(client, pool)
    pool.answers.append(error)
    with pytest.raises(type(error)):
        client.execute_command("GET", 1)
    assert [link.open for link in pool.made] == [False, False]
    assert sorted(map(id, pool.released)) == sorted(map(id, pool.made))
    assert client.execute_command("GET", 2) == (b"GET", b"2")


def test_a_primary_that_is_a_replica_now_is_left_with_all_connections(client, pool):
    two_idle(client, pool)
    pool.answers.append(ReadOnlyError())
    with pytest.raises(ReadOnlyError):
        client.execute_command("SET", 1)
    assert [link.open for link in pool.made] == [False, False]


def test_an_answer_that_nobody_waited_for_is_never_anothers(client, pool):
    two_idle(client, pool)
    pool.answers.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        client.execute_command("GET", 1)
    assert sum(link.open for link in pool.made) == 1
    assert client.execute_command("GET", 2) == (b"GET", b"2")


def test_what_needs_a_connection_for_longer_gets_one_of_ours(client, pool):
    client.execute_command("GET", 1)
    link = client.get_connection()
    client.release(link)
    assert client.execute_command("GET", 2) == (b"GET", b"2")
    assert pool.made == [link]


@pytest.mark.parametrize("ended", [True, False])
def test_and_it_is_never_one_that_has_ended_or_holds_an_answer(client, ended):
    link = client.get_connection()
    link.dead = ended
    link.unread.append("of another")
    client.release(link)
    assert client.get_connection() is link
    assert not link.open  # it connects anew when it is used


def test_closed_it_can_be_used_again(client, pool):
    client.execute_command("GET", 1)
    client.close()
    assert [link.open for link in pool.made] == [False]
    assert client.execute_command("GET", 2) == (b"GET", b"2")


def test_a_forked_child_uses_no_connection_of_its_parent(client, pool):
    client.execute_command("GET", 1)
    child = os.fork()
    if not child:
        client.execute_command("GET", 2)
        os._exit(0 if len(pool.made) == 2 and pool.made[0].open else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.execute_command("GET", 3)
    assert len(pool.made) == 1
