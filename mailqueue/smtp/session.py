"""The transaction loop over an open connection: plain RFC 5321, one message at a time, every reply accounted for.

Leaves opening, EHLO, STARTTLS and AUTH to smtplib and the meaning of replies to ``classify``. A connection that was
silent for too long, or spoke out of turn, is closed here and never used again.
"""

from __future__ import annotations

import smtplib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailqueue.errors import RelayTrouble
from mailqueue.outcome import Ending, Result, Verdict
from mailqueue.smtp.classify import Meaning, Scope, Stage, classify, goes_on
from mailqueue.smtp.connection import read_reply, reader_of
from mailqueue.smtp.offer import Offer, beyond_ascii
from mailqueue.smtp.reply import Reply, reply_text
from mailqueue.smtp.timeouts import Timeouts
from mailqueue.smtp.trouble import may_pass, trouble_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["GRACE", "Answer", "Mail", "Session", "ascii_only", "with_final_dot"]

_CRLF = b"\r\n"
_BLOCK = 65536  # octets handed to the network at a time, each within its own timeout (RFC 5321 section 4.5.3.2.5)
#: s; when nothing has come for so long, the wait is one in which other work can be done.
GRACE = 0.01
_PROBE = 5.0  # s; a relay that needs longer for RSET is no faster than a new connection

# RFC 6531 section 3.5
_NOT_ASCII = Reply(553, "5.6.7 the address is not ASCII, and the relay does not offer SMTPUTF8")


@dataclass(frozen=True, slots=True)
class Mail:
    """What one transaction carries: bare addr-specs, no recipient twice, and content with CRLF line ends."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one transaction.

    ``ending`` and ``results`` are as in an Outcome, by the addresses of the Mail; PROGRESS leaves ``rest`` for another
    transaction. ``stage`` and ``reply`` tell where and by which words it was refused as a whole (``recipient``: whom
    those were about), and ``trouble`` why the connection is closed. ``withdrawn``: ``begin`` said that the message is
    not to be sent any more.
    """

    ending: Ending
    results: Mapping[str, Result] = field(default_factory=dict)
    rest: tuple[str, ...] = ()
    stage: Stage | None = None
    reply: Reply | None = None
    recipient: str = ""
    trouble: RelayTrouble | None = None
    withdrawn: bool = False

    @property
    def served(self) -> bool:
        """Whether the relay has answered for it."""
        return self.ending is Ending.ANSWERED or self.ending is Ending.PROGRESS

    @property
    def barred(self) -> bool:
        """Whether the relay takes no message from us as we are: it asks for a login."""
        refused = self.ending is Ending.UNSENT and self.reply is not None
        return refused and self.trouble is not None and not self.trouble.reconnect


@dataclass(slots=True)
class _Transaction:
    """How far a transaction has come."""

    mail: Mail
    stage: Stage = Stage.MAIL
    accepted: list[str] = field(default_factory=list)  # by RCPT
    results: dict[str, Result] = field(default_factory=dict)
    recipient: str = ""  # whom the last RCPT was about
    rest: tuple[str, ...] = ()
    idle: bool = False  # nothing was sent that is not answered
    sealed: bool = False  # the last byte may have gone out

    def settle_all(self, result: Result) -> dict[str, Result]:
        """The same result for everyone who has none yet."""
        return {recipient: self.results.get(recipient, result) for recipient in self.mail.recipients}


class Session:
    """Transactions over ``connection``, which greeted us; ``hello`` comes first. For one thread at a time."""

    def __init__(self, connection: smtplib.SMTP, timeouts: Timeouts | None = None) -> None:
        self.connection = connection
        self.timeouts = timeouts or Timeouts.uniform(None)
        self.served = 0  # messages that the relay has answered for, on this connection
        self.accepts = b""  # with which words it accepted the last one
        self.check: bytes | None = None  # what ``in_step`` gave, for those who ask once
        self.on_wait: Callable[[], None] | None = None  # called when the relay has been silent for a moment

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.sock is None

    def hello(self) -> None:
        """EHLO, or else HELO, unless that was done. Raises smtplib's exceptions."""
        self.connection.ehlo_or_helo_if_needed()

    def transact(self, mail: Mail, begin: Callable[[], bool] = lambda: True) -> Answer:
        """Offer ``mail`` to the relay. ``begin`` is asked right before DATA whether it is still to be sent.

        Afterwards no transaction is open, or the connection is closed (and the answer says so by its ``trouble``).
        What ``begin`` raises is passed on, and leaves the connection in the same way.
        """
        current = _Transaction(mail)
        try:
            answer = self._mail(current) or self._recipients(current) or self._content(current, begin)
        except smtplib.SMTPServerDisconnected as error:
            return self._lost(current, error)
        except BaseException:
            if current.idle:
                self._reset()
            else:
                self.abort()
            raise
        self.served += answer.served
        return answer

    def in_step(self) -> bytes | None:
        """What the relay says to RSET, if it answers two commands that come in one packet, as PIPELINING has it.

        A relay, or a firewall before it, that loses what comes behind a command is found out like this at no
        message's cost. If the second reply does not come within seconds, the connection is closed. Raises
        smtplib.SMTPServerDisconnected if the relay has hung up, with a 421 or without: that says nothing of it.
        """
        limit = min(_PROBE, self.timeouts.command or _PROBE)
        sock = self.connection.sock
        usual = sock.gettimeout() if sock is not None else None
        try:
            self._limit(limit)
            self.connection.send("rset\r\nnoop\r\n")
            code, text = read_reply(self.connection, limit)
            others = read_reply(self.connection, limit)[0], *([0] if reader_of(self.connection).pending else [])
        except smtplib.SMTPServerDisconnected as error:
            self.abort()
            if may_pass(error):
                raise
            return None
        if all(goes_on(each, Stage.RSET) for each in (code, *others)):
            if sock is not None:
                sock.settimeout(usual)
            return text
        if len(others) > 1 or not goes_on(code, Stage.RSET):
            self.abort()
        return None

    def probe(self) -> bool:
        """Whether the relay still answers RSET, within seconds. If not, the connection is closed."""
        sock = self.connection.sock
        if sock is None:
            return False
        usual = sock.gettimeout()
        try:
            _, meaning = self._exchange("rset", Stage.RSET, _PROBE)
        except smtplib.SMTPServerDisconnected:
            self.abort()
            return False
        if meaning.verdict is not Verdict.ACCEPTED:
            self.abort()
            return False
        sock.settimeout(usual)
        return True

    def abort(self) -> None:
        """Close the connection without a word: it cannot be trusted to hear one."""
        self.connection.close()

    # -- the steps of a transaction: each gives the answer that ends it, or None to go on

    def _mail(self, current: _Transaction) -> Answer | None:
        mail = current.mail
        international = beyond_ascii(mail)
        offer = Offer.of(self.connection)
        if international and not offer.utf8:
            international = False
            refused = ascii_only(mail)
            if isinstance(refused, Answer):
                return refused
            current.results = refused
        command = offer.mail(mail, international=international)
        self.connection.command_encoding = "utf-8" if international else "ascii"
        reply, meaning = self._exchange(command, Stage.MAIL)
        return None if meaning.verdict is Verdict.ACCEPTED else self._refused(current, reply, meaning)

    def _recipients(self, current: _Transaction) -> Answer | None:
        current.stage = Stage.RCPT
        reply = None
        asked = [recipient for recipient in current.mail.recipients if recipient not in current.results]
        for position, recipient in enumerate(asked):
            current.recipient = recipient
            reply, meaning = self._exchange(f"rcpt TO:<{recipient}>", Stage.RCPT)
            if meaning.verdict is Verdict.ACCEPTED:
                current.accepted.append(recipient)
            elif meaning.scope is Scope.RELAY:
                return self._refused(current, reply, meaning)
            elif meaning.scope is Scope.TRANSACTION and current.accepted:
                current.rest = tuple(asked[position:])
                break
            else:
                current.results[recipient] = Result(meaning.verdict, reply)
        if current.accepted:
            return None
        return Answer(Ending.ANSWERED, current.results, stage=Stage.RCPT, reply=reply, trouble=self._reset())

    def _content(self, current: _Transaction, begin: Callable[[], bool]) -> Answer:
        current.stage, current.idle = Stage.DATA, True
        ours = begin()
        current.idle = False
        if not ours:
            return Answer(Ending.UNSENT, withdrawn=True, trouble=self._reset())
        reply, meaning = self._exchange("data", Stage.DATA)
        if meaning.verdict is Verdict.ACCEPTED:
            reply, meaning = self._deliver_content(current)
        if meaning.verdict is not Verdict.ACCEPTED:
            return self._refused(current, reply, meaning)
        result = Result(Verdict.ACCEPTED, reply)
        self.accepts = reply.text.encode()
        results = current.results | dict.fromkeys(current.accepted, result)
        return Answer(Ending.PROGRESS if current.rest else Ending.ANSWERED, results, rest=current.rest)

    def _deliver_content(self, current: _Transaction) -> tuple[Reply, Meaning]:
        """Send the content and the final dot; the reply to it, or what the relay could not keep to itself before."""
        if reader_of(self.connection).pending:
            return self._reply(Stage.CONTENT, self.timeouts.data)  # it came with the 354: nothing was sent
        current.stage = Stage.CONTENT
        octets = with_final_dot(current.mail.content)
        self._limit(self.timeouts.block)
        for start in range(0, len(octets), _BLOCK):
            last = start + _BLOCK >= len(octets)
            if last and reader_of(self.connection).unasked():
                # Taken for the reply to the final dot, a "250" that came before it would lose the message.
                return self._reply(Stage.CONTENT, self.timeouts.data)
            # A send that fails may have taken all of its octets all the same: nothing tells how many.
            current.sealed = last
            try:
                self.connection.send(octets[start : start + _BLOCK])
            except smtplib.SMTPServerDisconnected as error:
                return self._last_words(error)
        current.stage = Stage.FINAL
        return self._reply(Stage.FINAL, self.timeouts.final)

    def _last_words(self, error: smtplib.SMTPServerDisconnected) -> tuple[Reply, Meaning]:
        """What the relay said before it hung up in the midst of the content (552, too large), if it said anything."""
        if not self.closed and may_pass(error) and reader_of(self.connection).unasked():
            return self._reply(Stage.CONTENT, self.timeouts.data)
        raise error

    # -- endings

    def _refused(self, current: _Transaction, reply: Reply, meaning: Meaning) -> Answer:
        """The relay refused the transaction as a whole."""
        stage = current.stage
        trouble: RelayTrouble | None
        if meaning.scope is Scope.RELAY:
            self.abort()
            trouble = trouble_with(reply, stage, reconnect=meaning.verdict is Verdict.DEFERRED)
            if not current.sealed:
                return Answer(Ending.UNSENT, stage=stage, reply=reply, recipient=current.recipient, trouble=trouble)
            if meaning.surprise:
                return Answer(Ending.UNKNOWN, current.results, stage=stage, reply=reply, trouble=trouble)
        elif stage is Stage.CONTENT:
            self.abort()  # what it would take for commands is the rest of the content
            trouble = trouble_with(reply, stage, reconnect=True)
        else:
            trouble = self._reset() if stage is Stage.DATA else None
        # It is about the message, so it holds for those as well who would have come in the next transaction.
        results = current.settle_all(Result(meaning.verdict, reply))
        return Answer(Ending.ANSWERED, results, stage=stage, reply=reply, trouble=trouble)

    def _lost(self, current: _Transaction, error: smtplib.SMTPServerDisconnected) -> Answer:
        """The connection ended, or the relay was silent for too long."""
        trouble = self._trouble(current.stage, error)
        if current.sealed:
            return Answer(Ending.UNKNOWN, current.results, stage=current.stage, trouble=trouble)
        return Answer(Ending.UNSENT, stage=current.stage, trouble=trouble)

    def _reset(self) -> RelayTrouble | None:
        """End the open transaction. If that fails, close the connection and say why."""
        try:
            reply, meaning = self._exchange("rset", Stage.RSET)
        except smtplib.SMTPServerDisconnected as error:
            return self._trouble(Stage.RSET, error)
        if meaning.verdict is Verdict.ACCEPTED:
            return None
        self.abort()
        return trouble_with(reply, Stage.RSET, reconnect=True)

    def _trouble(self, stage: Stage, error: smtplib.SMTPServerDisconnected) -> RelayTrouble:
        """Close the connection that ended with ``error``."""
        self.abort()
        trouble = RelayTrouble(f"{stage}: {error}", stage=stage, text=str(error), reconnect=may_pass(error))
        trouble.__cause__ = error
        return trouble

    # -- one command, one reply

    def _exchange(self, command: str, stage: Stage, timeout: float | None = None) -> tuple[Reply, Meaning]:
        """Send ``command`` and read its reply. Raises smtplib.SMTPServerDisconnected."""
        if timeout is None:
            timeout = self.timeouts.reply(stage)
        reader = reader_of(self.connection)
        if reader.pending or (stage is Stage.MAIL and reader.unasked()):
            # The relay has said more than it was asked. Taken for the reply to this command, that would put all the
            # following ones out of step.
            return self._reply(Stage.IDLE, timeout)
        self._limit(timeout)
        self.connection.putcmd(command)
        return self._reply(stage, timeout)

    def _reply(self, stage: Stage, timeout: float | None) -> tuple[Reply, Meaning]:
        if self.on_wait is not None and not reader_of(self.connection).arrives(GRACE):
            self.on_wait()
        code, text = read_reply(self.connection, timeout)
        reply = Reply(code, reply_text(text))
        return reply, classify(reply, stage)

    def _limit(self, timeout: float | None) -> None:
        sock = self.connection.sock
        if timeout is not None and sock is not None:
            sock.settimeout(timeout)


def ascii_only(mail: Mail) -> Answer | dict[str, Result]:
    """For a relay without SMTPUTF8: refuse those recipients who need it. An answer if that leaves nobody."""
    refused = Result(Verdict.REFUSED, _NOT_ASCII)
    if not mail.sender.isascii():
        return Answer(Ending.ANSWERED, dict.fromkeys(mail.recipients, refused), stage=Stage.MAIL, reply=_NOT_ASCII)
    results = {recipient: refused for recipient in mail.recipients if not recipient.isascii()}
    if len(results) == len(mail.recipients):
        return Answer(Ending.ANSWERED, results, stage=Stage.RCPT, reply=_NOT_ASCII)
    return results


def with_final_dot(content: bytes) -> bytes:
    """The content as smtplib writes it: lines that begin with a dot get another one, and a dot ends it."""
    stuffed = content.replace(b"\n.", b"\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    if not stuffed.endswith(_CRLF):
        stuffed += _CRLF
    return stuffed + b"." + _CRLF
