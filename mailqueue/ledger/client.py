"""Sends the ledger's commands to the store, each in one piece, over connections that it holds.

What redis-py's client does around each command - asking its pool for a connection, looking whether that one is alive,
giving it back, measuring all of it - costs a process a third of the command, and it sends a parcel in dozens of writes
(measured). Leaves connecting to the pool, and what an error means to ``redis``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

__all__ = ["Client"]


class Client:
    """Stands in for redis-py's ``client``, whose pool it uses. Safe across threads and fork.

    A connection that the store has closed meanwhile shows at its next use: that raises redis-py's ConnectionError, and
    all idle connections are given up with it. Whoever repeats the command does so on a new one.
    """

    def __init__(self, client: Redis) -> None:
        # redis-py takes 100 ms to import: only where a ledger is made, never in a process that only builds messages.
        from redis.exceptions import ReadOnlyError, RedisError, ResponseError  # noqa: PLC0415

        self.connection_pool: Any = client.connection_pool
        self._callbacks: Any = client.response_callbacks
        self._idle: list[Any] = []  # pop and append are atomic; it grows to as many as are used at a time
        self._pid = os.getpid()
        self._answered, self._demoted, self._lost = ResponseError, ReadOnlyError, RedisError

    def execute_command(self, *command: Any) -> Any:
        """Send ``command`` and return what the store answers; raises redis-py's errors, and does not repeat it."""
        connection = self._take()
        try:
            connection.send_packed_command(_packed(command))
            answer = connection.read_response()
        except self._answered as error:
            self._idle.append(connection)  # it was read in full
            if isinstance(error, self._demoted):  # the others lead to the same server
                self._give_up()
            raise
        except BaseException as error:
            connection.disconnect()  # its answer may still come
            self.connection_pool.release(connection)
            if isinstance(error, Exception):
                self._give_up()
            raise
        self._idle.append(connection)
        callback = self._callbacks.get(command[0])
        return answer if callback is None else callback(answer)

    def close(self) -> None:
        """Give up the idle connections; new ones are opened when they are needed."""
        self._forget_parents()
        self._give_up()

    # For several commands on one connection, under the names of the pool: one that has a limit counts ours too.

    def get_connection(self) -> Any:
        """An idle connection that is alive, or a new one."""
        connection = self._take()
        try:
            alive = not connection.can_read()  # its end, or an answer that nobody has read
        except (self._lost, OSError):
            alive = False
        if not alive:
            connection.disconnect()
        return connection

    def release(self, connection: Any) -> None:
        """Take ``connection`` back, with no answer left in it; one that was disconnected connects when it is used."""
        self._idle.append(connection)

    def _take(self) -> Any:
        self._forget_parents()
        try:
            return self._idle.pop()
        except IndexError:
            return self.connection_pool.get_connection()

    def _forget_parents(self) -> None:
        if self._pid != os.getpid():
            self._idle = []  # redis-py closes no connection of another process
            self._pid = os.getpid()

    def _give_up(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            connection.disconnect()
            self.connection_pool.release(connection)


def _packed(command: Sequence[Any]) -> list[bytes]:
    """``command`` as the store's protocol has it: text, octets and numbers; its name may be two words."""
    words = (*command[0].split(), *command[1:])
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        octets = word if isinstance(word, bytes) else str(word).encode()
        parts += (b"$%d\r\n" % len(octets), octets, b"\r\n")
    return [b"".join(parts)]
