"""The server's side of one scripted conversation: the commands, and what is said to them."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import hmac
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailqueue.testing.incoming import Incoming
from mailqueue.testing.script import Action, Drip, Drop, Endless, Hang, Say

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Mapping

    from mailqueue.testing.scripted import ScriptedServer

__all__ = ["Conversation", "Dialogue", "Received"]

_ADDRESS = re.compile(r"(?:FROM|TO):\s*<([^>]*)>\s*(.*)", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=(\d+)", re.IGNORECASE)  # RFC 1870 section 5
_TOO_LARGE = "552 5.3.4 message too large"
_CHALLENGE = b"<1896.697170952@scripted.invalid>"  # in the form of RFC 2195's example


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was accepted: its envelope, the parameters of MAIL, its bytes without the dots' stuffing."""

    sender: str
    recipients: tuple[str, ...]
    parameters: str
    content: bytes
    connection: int  # the number of the connection that it came by, from 1


@dataclass(slots=True)
class Conversation:
    """What happened on one connection."""

    number: int  # from 1
    commands: list[str] = field(default_factory=list)  # as they came, without their line ends
    tls: bool = False
    user: str = ""  # who has logged in
    trouble: str = ""  # why TLS failed
    ended: bool = False
    played: list[tuple[Action, int]] = field(default_factory=list)  # what the script had, after how many commands

    @property
    def verbs(self) -> list[str]:
        """The commands' first words, in upper case."""
        return [command.split(" ", 1)[0].upper() for command in self.commands]


class _HungUp(Exception):  # noqa: N818 - no error: how conversations end
    """The conversation is over."""


class Dialogue:
    """One conversation over ``sock``, as the script of ``server`` has it."""

    def __init__(self, server: ScriptedServer, conversation: Conversation, sock: socket.socket) -> None:
        self._server = server
        self._conversation = conversation
        self._sock = sock
        self._incoming = Incoming(sock)
        self._accepted = 0
        self._sender: str | None = None
        self._parameters = ""
        self._recipients: list[str] = []
        self._chunks: list[bytes] = []

    def run(self) -> None:
        """Talk until somebody hangs up."""
        with contextlib.suppress(_HungUp, OSError, ValueError):  # ValueError: TLS shut down by another thread
            if self._server.tls is not None and self._server.implicit_tls:
                self._begin_tls(self._server.tls)
            self._answer("greeting", "220 scripted.invalid ESMTP")
            while True:
                self._command(self._line())
        self._close()

    def _hear(self, line: str) -> None:
        self._server.note(lambda: self._conversation.commands.append(line))

    def _command(self, line: str) -> None:
        self._hear(line)
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if self._server.loses in (verb, "ALL"):
            self._incoming.lose()
        handler = self._HANDLERS.get(verb)
        if handler is None or (verb == "BDAT" and "CHUNKING" not in self._server.offers):
            self._send(b"502 5.5.2 no such command\r\n")
        else:
            handler(self, argument)

    # -- commands

    def _ehlo(self, _name: str) -> None:
        limit = self._server.size_limit
        offers = [f"SIZE {limit}" if limit and _is_size(each) else each for each in self._server.offers]
        if self._server.tls is not None and not self._conversation.tls:
            offers.append("STARTTLS")
        if self._server.users:
            offers.append(f"AUTH {' '.join(self._server.mechanisms)}")
        lines = ["scripted.invalid", *offers]
        self._answer("ehlo", *(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")
        self._forget()

    def _helo(self, _name: str) -> None:
        self._answer("helo", "250 scripted.invalid")
        self._forget()

    def _starttls(self, _nothing: str) -> None:
        if self._server.tls is None:
            self._send(b"502 5.5.1 not offered\r\n")
        elif self._answer("starttls", "220 2.0.0 go ahead"):
            self._begin_tls(self._server.tls)
            self._forget()

    def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        log_in = self._MECHANISMS.get(mechanism.upper())
        user = "" if log_in is None else log_in(self, initial)
        usual = "235 2.7.0 welcome" if user else "535 5.7.8 bad credentials"
        if self._answer("auth", usual) and user:
            self._server.note(lambda: setattr(self._conversation, "user", user))

    def _mail(self, argument: str) -> None:
        match = _ADDRESS.match(argument)
        limit = self._server.messages_per_connection
        if self._accepted == self._server.hangs_up_after:
            self._hang_up()
        if match is None:
            usual = "501 5.5.4 MAIL FROM:<address>"
        elif self._sender is not None:
            usual = "503 5.5.1 nested MAIL"
        elif limit is not None and self._accepted >= limit:
            usual = "421 4.7.0 enough for one connection"
        elif self._server.login_required and not self._conversation.user:
            usual = "530 5.7.0 authentication required"
        elif self._too_large(_announced(match[2])) and any(map(_is_size, self._server.offers)):
            usual = _TOO_LARGE
        else:
            usual = "250 2.1.0 ok"
        if self._answer("mail", usual) and match is not None:
            self._sender, self._parameters = match[1], match[2]

    def _rcpt(self, argument: str) -> None:
        match = _ADDRESS.match(argument)
        limit = self._server.recipients_per_message
        if match is None:
            usual = "501 5.5.4 RCPT TO:<address>"
        elif self._sender is None:
            usual = "503 5.5.1 MAIL first"
        elif limit is not None and len(self._recipients) >= limit:
            usual = "452 4.5.3 too many recipients"
        else:
            usual = "250 2.1.5 ok"
        recipient = match[1] if match is not None else ""
        if self._answer("rcpt", usual, about=[recipient]):
            self._recipients.append(recipient)

    def _data(self, _nothing: str) -> None:
        usual = "354 go ahead" if self._recipients else "503 5.5.1 RCPT first"
        if not self._answer("data", usual, about=self._recipients, due="3"):
            return
        self._decide(self._content())

    def _bdat(self, argument: str) -> None:
        """RFC 3030 section 2: so many octets follow the command, and their last ones end the message."""
        size, _, last = argument.partition(" ")
        if not self._recipients and not self._server.discards_chunks:
            self._answer("data", "503 5.5.1 RCPT first")
            return
        action = self._begin_content()
        if action is not None:
            self._play(action)
        octets = self._incoming.read(int(size))
        if len(octets) < int(size):
            raise _HungUp
        self._chunks.append(octets)
        if not self._recipients:
            self._answer("data", "503 5.5.1 RCPT first")
        elif last.upper() == "LAST":
            self._decide(b"".join(self._chunks))
        else:
            self._send(b"250 2.0.0 ok\r\n")

    def _decide(self, content: bytes) -> None:
        """Say what becomes of the message."""
        message = Received(
            self._sender or "", tuple(self._recipients), self._parameters, content, self._conversation.number
        )
        self._forget()
        usual = _TOO_LARGE if self._too_large(len(content)) else "250 2.0.0 ok: queued"
        keep = functools.partial(self._server.keep, message) if message.recipients else None
        if self._answer("final", usual, about=message.recipients, before=keep):
            self._accepted += 1
            if self._accepted == self._server.closes_after:
                self._hang_up()

    def _begin_content(self) -> Action | None:
        """What is to be said in the midst of the content, if all of it is to be read."""
        action = self._step("content", self._recipients)
        if isinstance(action, Drop):
            self._incoming.read(action.after)
            self._hang_up(reset=True)
        if isinstance(action, Hang):
            self._server.stopping.wait()
            raise _HungUp
        return action

    def _content(self) -> bytes:
        action = self._begin_content()
        lines: list[bytes] = []
        while (line := self._incoming.readline()) != b".\r\n":
            if not line:
                raise _HungUp
            if action is not None and not lines:
                self._play(action)  # in the midst of it
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _too_large(self, octets: int) -> bool:
        return self._server.size_limit is not None and octets > self._server.size_limit

    def _rset(self, _nothing: str) -> None:
        self._answer("rset", "250 2.0.0 ok")
        self._forget()

    def _noop(self, _nothing: str) -> None:
        self._send(b"250 2.0.0 ok\r\n")

    def _quit(self, _nothing: str) -> None:
        self._answer("quit", "221 2.0.0 bye")
        raise _HungUp

    # -- AUTH: each mechanism says who has logged in, or ""

    def _plain(self, initial: str) -> str:
        _, user, password = self._decoded(initial or self._ask(b"")).split("\0")
        return self._known(user, password)

    def _login(self, initial: str) -> str:
        user = self._decoded(initial or self._ask(b"Username:"))
        return self._known(user, self._decoded(self._ask(b"Password:")))

    def _cram_md5(self, _initial: str) -> str:
        user, _, digest = self._decoded(self._ask(_CHALLENGE)).rpartition(" ")
        secret = self._server.users.get(user, "").encode()
        return user if hmac.new(secret, _CHALLENGE, hashlib.md5).hexdigest() == digest else ""

    def _xoauth2(self, initial: str) -> str:
        fields = dict(part.split("=", 1) for part in self._decoded(initial).split("\x01") if part)
        user = self._known(fields.get("user", ""), fields.get("auth", "").removeprefix("Bearer "))
        if not user:
            self._ask(b'{"status":"401","schemes":"bearer"}')  # wants an empty answer before the refusal
        return user

    def _known(self, user: str, password: str) -> str:
        return user if self._server.users.get(user) == password else ""

    def _ask(self, challenge: bytes) -> str:
        self._send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return self._line()

    @staticmethod
    def _decoded(text: str) -> str:
        return base64.b64decode(text).decode()

    # -- what is said, and how it ends

    def _answer(
        self,
        stage: str,
        *usual: str,
        about: Collection[str] = (),
        due: str = "2",
        before: Callable[[], None] | None = None,
    ) -> bool:
        """Say what the script has for ``stage``, or what is usual; whether that was the digit that is ``due``.

        ``about`` are the recipients concerned. ``before`` is done before saying so (a client that reads the reply
        finds it done).
        """
        action = self._step(stage, about)
        if action is None:
            text = "".join(f"{line}\r\n" for line in usual)
            action = Say(text.encode(), close=text.startswith("421") and not self._server.lingers)
        agreed = isinstance(action, Say | Drip | Endless) and action.octets.startswith(due.encode())
        if before is not None and (agreed or (isinstance(action, Drop | Hang) and action.keep)):
            before()
        self._play(action)
        return agreed

    def _step(self, stage: str, about: Collection[str]) -> Action | None:
        action = self._server.step(stage, about, self._conversation.number)
        if action is not None:
            played = action, len(self._conversation.commands)
            self._server.note(lambda: self._conversation.played.append(played))
        return action

    def _play(self, action: Action) -> None:
        match action:
            case Say(octets, close):
                self._send(octets)
                if close:
                    raise _HungUp
            case Hang():
                while True:  # until the client hangs up, or the server stops
                    self._hear(self._line())
            case Drop():
                self._hang_up()
            case Drip(octets, interval):
                self._drip(octets, interval)
            case Endless(octets):
                while True:
                    self._send(octets)

    def _drip(self, octets: bytes, interval: float) -> None:
        for octet in octets:
            self._send(bytes((octet,)))
            if self._server.stopping.wait(interval):
                raise _HungUp

    def _send(self, octets: bytes) -> None:
        self._sock.sendall(octets)

    def _line(self) -> str:
        line = self._incoming.readline()
        if not line:
            raise _HungUp
        return line.decode(errors="replace").rstrip("\r\n")

    def _forget(self) -> None:
        self._sender, self._parameters, self._recipients, self._chunks = None, "", [], []

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        try:
            self._sock = context.wrap_socket(self._sock, server_side=True)
        except OSError as error:
            trouble = str(error)
            self._server.note(lambda: setattr(self._conversation, "trouble", trouble))
            raise _HungUp from None
        self._server.talk_over(self._sock, self._conversation.number)
        self._incoming = Incoming(self._sock)
        self._server.note(lambda: setattr(self._conversation, "tls", True))

    def _hang_up(self, *, reset: bool = False) -> None:
        if reset:  # RST rather than FIN: what the client has still to say is refused at once
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _HungUp

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()
        self._server.note(lambda: setattr(self._conversation, "ended", True))

    _HANDLERS: Mapping[str, Callable[[Dialogue, str], None]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "STARTTLS": _starttls,
        "AUTH": _auth,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "BDAT": _bdat,
        "RSET": _rset,
        "NOOP": _noop,
        "QUIT": _quit,
    }
    _MECHANISMS: Mapping[str, Callable[[Dialogue, str], str]] = {
        "PLAIN": _plain,
        "LOGIN": _login,
        "CRAM-MD5": _cram_md5,
        "XOAUTH2": _xoauth2,
    }


def _is_size(offer: str) -> bool:
    return offer.split(" ", 1)[0].upper() == "SIZE"


def _announced(parameters: str) -> int:
    """The size of the message to come, as the parameters of MAIL have it; 0 if they do not tell."""
    match = _SIZE.search(parameters)
    return int(match[1]) if match else 0
