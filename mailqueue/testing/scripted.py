"""An SMTP server that behaves as its script says: refuses, hangs, drops, babbles, or does its duty.

For tests. Real sockets on 127.0.0.1, a thread for each connection, everything recorded and waited for by a signal.
The steps of a script are in ``script``, what is said on a connection in ``dialogue``, certificates in ``certificates``.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from mailqueue.testing.dialogue import Conversation, Dialogue, Received
from mailqueue.testing.script import Drop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterable, Mapping
    from types import TracebackType

    from mailqueue.testing.script import Action, Step

__all__ = ["Conversation", "Received", "ScriptedServer"]

_PATIENCE = 5.0  # s for the threads to end


class ScriptedServer:
    """A server on 127.0.0.1, as a context manager.

    Args:
        *steps: What it does otherwise than usual; of those that are due at one place the first is played.
        port: Where it listens; 0 for a free port.
        offers: The keywords of its EHLO reply, besides those that follow from ``tls`` and ``users``. With CHUNKING
            it takes BDAT; commands that come together it answers one by one, whether it offers PIPELINING or not.
        tls: The context of its certificate: STARTTLS is offered.
        implicit_tls: With ``tls``, speak TLS from the first byte instead.
        users: Who may log in, with their passwords, for XOAUTH2 their tokens: AUTH is offered.
        mechanisms: The methods of AUTH.
        login_required: MAIL without login is refused (530).
        recipients_per_message: A further RCPT is refused (452 4.5.3).
        messages_per_connection: A further MAIL is refused (421), and the connection closed.
        lingers: The connection stays open then, for whatever else is said on it.
        hangs_up_after: After so many messages on a connection, a further MAIL has no reply but the end of it.
        closes_after: After so many messages on a connection it is closed, right behind the reply to the last one.
        loses: The verb behind which it loses what else has come by then, as if it had not offered PIPELINING; "ALL"
            for every command.
        discards_chunks: Whether a chunk that is refused is read all the same (RFC 3030 section 2), or taken for commands.
        size_limit: A larger message is refused (552): at MAIL if ``offers`` has SIZE and the client tells, else at
            the final dot. In octets.
    """

    def __init__(
        self,
        *steps: Step,
        port: int = 0,
        offers: Iterable[str] = ("SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"),
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        users: Mapping[str, str] | None = None,
        mechanisms: Iterable[str] = ("CRAM-MD5", "PLAIN", "LOGIN", "XOAUTH2"),
        login_required: bool = False,
        recipients_per_message: int | None = None,
        messages_per_connection: int | None = None,
        lingers: bool = False,
        hangs_up_after: int | None = None,
        closes_after: int | None = None,
        loses: str = "",
        discards_chunks: bool = True,
        size_limit: int | None = None,
    ) -> None:
        self.offers = tuple(offers)
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.users = dict(users or {})
        self.mechanisms = tuple(mechanisms)
        self.login_required = login_required
        self.recipients_per_message = recipients_per_message
        self.messages_per_connection = messages_per_connection
        self.lingers = lingers
        self.hangs_up_after = hangs_up_after
        self.closes_after = closes_after
        self.loses = loses
        self.discards_chunks = discards_chunks
        self.size_limit = size_limit
        self.host = "127.0.0.1"
        self.port = port
        self.stopping = threading.Event()
        self._steps = steps
        self._played: Counter[int] = Counter()  # by position: how often the step's conditions held
        self._reached: Counter[str] = Counter()
        self._messages: list[Received] = []
        self._conversations: list[Conversation] = []
        self._sockets: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._unanswered: list[socket.socket] = []  # connections that keep the listener from answering others

    def play(self, *steps: Step) -> None:
        """From now on behave as ``steps`` say, and no longer as before; without any, as a server should.

        Raises ValueError for a step at "connect": what refuses connections is ``stop()``.
        """
        if any(step.stage == "connect" for step in steps):
            raise ValueError('a step at "connect" must be there before the server starts: use stop() and start()')
        with self._changed:
            self._steps = steps
            self._played.clear()

    # -- what happened

    @property
    def messages(self) -> list[Received]:
        """The accepted messages, in order."""
        with self._changed:
            return list(self._messages)

    @property
    def connections(self) -> list[Conversation]:
        """All connections so far."""
        with self._changed:
            return list(self._conversations)

    @property
    def commands(self) -> list[str]:
        """The commands of all connections, one connection after the other."""
        return [command for conversation in self.connections for command in conversation.commands]

    def reached(self, stage: str) -> int:
        """How often ``stage`` was reached."""
        with self._changed:
            return self._reached[stage]

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Received]:
        """Wait until ``count`` messages are accepted and return them; TimeoutError after ``timeout`` s."""
        self.wait_until(lambda: len(self._messages) >= count, f"{count} messages", timeout)
        return self.messages

    def wait_for_stage(self, stage: str, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until ``stage`` has been reached ``count`` times; TimeoutError after ``timeout`` s."""
        self.wait_until(lambda: self._reached[stage] >= count, f"{stage} number {count}", timeout)

    def wait_for_hangup(self, connection: int = 1, timeout: float = 10.0) -> Conversation:
        """Wait until that connection (from 1) has ended and return it; TimeoutError after ``timeout`` s."""
        self.wait_until(
            lambda: len(self._conversations) >= connection and self._conversations[connection - 1].ended,
            f"the end of connection {connection}",
            timeout,
        )
        return self.connections[connection - 1]

    def wait_until(self, holds: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Wait until ``holds()``, asked whenever something has happened; TimeoutError after ``timeout`` s."""
        with self._changed:
            if not self._changed.wait_for(holds, timeout):
                raise TimeoutError(f"not within {timeout:g} s: {what}; reached {dict(self._reached)}")

    # -- its life

    def start(self) -> None:
        """Listen; ``port`` then tells where. After ``stop()``, listen there again."""
        self.stopping.clear()
        listener = self._listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        self.port = listener.getsockname()[1]
        barrier = next((step.action for step in self._steps if step.stage == "connect"), None)
        if barrier is None:
            listener.listen()
            self._spawn(self._accept, listener)
        elif not isinstance(barrier, Drop):  # a port that is bound and not listened at refuses
            listener.listen(0)
            self._answer_nobody()

    def _answer_nobody(self) -> None:
        """Fill the queue of connections that nobody accepts: the system does not answer further ones."""
        for _ in range(2):
            sock = socket.socket()
            sock.setblocking(False)
            self._unanswered.append(sock)
            assert sock.connect_ex((self.host, self.port)) in {0, errno.EINPROGRESS}

    def stop(self) -> None:
        """Close every connection, whatever hangs on it, and end the threads."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self.stopping.set()
        for sock in self._unanswered:
            sock.close()
        if self._threads:
            with contextlib.suppress(OSError):  # closing a socket does not wake its accept(): a last client does
                socket.create_connection((self.host, self.port), timeout=_PATIENCE).close()
        with self._changed:
            sockets = list(self._sockets.values())
        for sock in sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # beneath TLS, which another thread is using
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._threads.clear()
        self._unanswered.clear()
        listener.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="scripted-smtp", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # what is said before hanging up is not kept back
            if self.stopping.is_set():
                sock.close()
                return
            with self._changed:
                conversation = Conversation(len(self._conversations) + 1)
                self._conversations.append(conversation)
                self._sockets[conversation.number] = sock
                self._changed.notify_all()
            self._spawn(Dialogue(self, conversation, sock).run)

    # -- for the conversations

    def step(self, stage: str, recipients: Collection[str], connection: int) -> Action | None:
        """What the script wants at ``stage`` now, if it does not want what is usual."""
        with self._changed:
            self._reached[stage] += 1
            self._changed.notify_all()
            chosen = None
            for position, step in enumerate(self._steps):
                if step.concerns(stage, recipients, connection):
                    self._played[position] += 1
                    if chosen is None and step.is_due(self._played[position]):
                        chosen = step.action
            return chosen

    def note(self, change: Callable[[], object]) -> None:
        """Make a change to what is recorded, and wake those who wait for it."""
        with self._changed:
            change()
            self._changed.notify_all()

    def keep(self, message: Received) -> None:
        """Accept a message."""
        self.note(lambda: self._messages.append(message))

    def talk_over(self, sock: socket.socket, connection: int) -> None:
        """The conversation goes on over another socket: TLS has begun."""
        self.note(lambda: self._sockets.update({connection: sock}))
