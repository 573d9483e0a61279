"""Which reply answers which command: the accounting of a pipelined conversation (RFC 2920 section 3.1).

Replies carry no number; they come in the order of the commands, so they are counted. Each message's commands end with
RSET, whose reply is the check: it must read as the relay's replies to RSET do, or the count is off. A message has its
answer when that one was read, so a reply too many is found before it is taken for another message's. Without RSET, a
relay could as well put the next message into a transaction that has failed, and is still open.

Pure: replies are fed in, answers come out. Who reads and writes is ``stream``.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

from mailqueue.outcome import Ending, Result, Verdict
from mailqueue.smtp.classify import Meaning, Scope, Stage, classify, goes_on
from mailqueue.smtp.reply import Reply, reply_text
from mailqueue.smtp.session import Answer

if TYPE_CHECKING:
    from mailqueue.smtp.session import Mail

__all__ = ["LEAVING", "OUT_OF_STEP", "Accounting", "Transaction", "alike", "shape"]

#: A reply that cannot be the one that is owed.
OUT_OF_STEP = Meaning(Verdict.DEFERRED, Scope.RELAY, surprise=True)

#: RSET is refused to a message that nobody is to get. Exim does so at the tenth (smtp_accept_max_nonmail), and hangs up.
LEAVING = Meaning(Verdict.DEFERRED, Scope.RELAY, closing=True)

_DIGITS = re.compile(r"\S*\d\S*")


def shape(text: str) -> str:
    """A reply's text without what may change from one to the next: the words that have digits in them.

    "2.0.0 Ok: queued as 4C2F12041F" is " Ok: queued as "; "2.1.5 Flushed d2e1a72 - gsmtp" is " Flushed  - gsmtp".
    """
    return _DIGITS.sub("", text)


def alike(one: bytes, other: bytes) -> bool:
    """Whether two replies are of one shape: one could pass for the other."""
    return one == other or shape(reply_text(one)) == shape(reply_text(other))


class Transaction:
    """One message's commands, and what the replies to them have said so far.

    ``stage`` is what the next reply answers. ``end`` is where its last byte lies in the stream of what is written, as
    soon as that is known. ``chunked``: its content goes by BDAT, right behind the recipients; else by DATA.
    """

    __slots__ = (
        "accepted",
        "asked",
        "barred",
        "chunked",
        "closing",
        "doubted",
        "end",
        "final",
        "idle",
        "item",
        "mail",
        "octets",
        "odd",
        "position",
        "recipient",
        "reply",
        "rest",
        "results",
        "settled_at",
        "stage",
    )

    def __init__(self, item: Any, mail: Mail, results: dict[str, Result], *, chunked: bool) -> None:
        self.item = item
        self.mail = mail
        self.results = results  # of those who are refused already, since the relay cannot be asked for them
        self.asked = [to for to in mail.recipients if to not in results] if results else mail.recipients
        self.chunked = chunked
        self.stage = Stage.MAIL
        self.position = 0  # of the recipient whom the next reply to RCPT is about
        self.accepted: list[str] = []  # by RCPT
        self.rest: list[str] = []  # those whom this transaction does not hold any more
        self.settled_at: Stage | None = None  # where it was refused as a whole
        self.reply: Reply | None = None  # with which words
        self.recipient = ""  # whom those were about
        self.final: Reply | None = None  # the reply that accepted the content
        self.odd = False  # the relay has accepted recipients for a sender it refused
        self.barred = False  # it takes none from us now: it asks for a login, or has answered 421
        self.closing = False  # the last reply was a 421 to one of the recipients
        self.doubted = False  # what was read may be another command's answer
        self.idle = False  # it asks for nothing: DATA is answered, and it is for us to go on
        self.end: int | None = None
        self.octets = len(mail.content)

    # -- each gives what a reply means, if that is the relay's trouble

    def hear(self, code: int, text: bytes, handed: int) -> Meaning | None:
        """Take the next reply that is owed, ``handed`` octets of the stream having gone out."""
        stage = self.stage
        self.closing = False
        if goes_on(code, stage):
            return self._agreed(stage, code, text, handed)
        reply = Reply(code, reply_text(text))
        meaning = classify(reply, stage)
        if meaning.surprise:
            return meaning
        if stage is Stage.MAIL:
            self.barred = meaning.scope is Scope.RELAY
            self._settle(stage, reply, meaning)
            self.stage = Stage.RCPT
        elif stage is Stage.RCPT:
            self._refused(reply, meaning)
        elif meaning.closing and not self.is_out(handed):
            if not self.settled:  # nothing more goes out: it stays where it is
                self.reply = reply
        else:
            if self.settled_at is None:
                self._settle(stage, reply, meaning)
            self.stage = Stage.RSET
            self.idle = stage is Stage.DATA
        return meaning if meaning.scope is Scope.RELAY else None

    def _agreed(self, stage: Stage, code: int, text: bytes, handed: int) -> Meaning | None:
        if stage is Stage.RCPT:
            if self.settled_at is None:
                self.accepted.append(self.asked[self.position])
            else:
                self.odd = True
            self._next_recipient()
        elif stage is Stage.MAIL:
            self.stage = Stage.RCPT
        elif self.odd or (stage is Stage.FINAL and not self.is_out(handed)):
            return OUT_OF_STEP
        elif stage is Stage.DATA:
            self.stage = Stage.FINAL
            self.idle = True
        else:
            if self.settled_at is None:
                self.final = Reply(code, reply_text(text))
            self.stage = Stage.RSET
        return None

    def _refused(self, reply: Reply, meaning: Meaning) -> None:
        """A recipient is refused."""
        recipient = self.asked[self.position]
        if self.settled_at is None:
            self.reply, self.recipient, self.closing = reply, recipient, meaning.closing
            if meaning.scope is Scope.TRANSACTION and self.accepted:
                self.rest.append(recipient)
            else:
                self.results[recipient] = Result(meaning.verdict, reply)
        self._next_recipient()

    def _next_recipient(self) -> None:
        self.position += 1
        if self.position == len(self.asked):
            self.stage = Stage.FINAL if self.chunked else Stage.DATA
            if not self.accepted and self.settled_at is None:
                self.settled_at = Stage.RCPT

    def _settle(self, stage: Stage, reply: Reply, meaning: Meaning) -> None:
        """It is about the message, and holds for everyone who has no result yet."""
        self.settled_at, self.reply, self.recipient = stage, reply, ""
        result = Result(meaning.verdict, reply)
        self.results = {recipient: self.results.get(recipient, result) for recipient in self.mail.recipients}

    # -- what became of it

    @property
    def settled(self) -> bool:
        """Whether every recipient has a result: nothing that is still to come can change it."""
        return self.settled_at is not None or self.final is not None

    def answer(self) -> Answer:
        """The answer, all replies having been read."""
        if self.doubted:
            return Answer(Ending.UNKNOWN, stage=self.stage)
        if self.barred:
            return Answer(Ending.UNSENT, stage=Stage.MAIL, reply=self.reply)
        if self.final is None:
            return Answer(
                Ending.ANSWERED, self.results, stage=self.settled_at, reply=self.reply, recipient=self.recipient
            )
        accepted = dict.fromkeys(self.accepted, Result(Verdict.ACCEPTED, self.final))
        results = self.results | accepted if self.results else accepted
        if self.rest:
            return Answer(Ending.PROGRESS, results, rest=tuple(self.rest))
        return Answer(Ending.ANSWERED, results)

    def is_out(self, handed: int) -> bool:
        """Whether its last byte is among the ``handed`` octets of the stream that have gone out."""
        return self.end is not None and self.end <= handed

    def unanswered(self, handed: int) -> Answer:
        """The answer when nothing more is to be read."""
        out = self.is_out(handed)
        if self.settled and not self.doubted and (out or not self.closing):
            return self.answer()
        if out:
            return Answer(Ending.UNKNOWN, {} if self.doubted else self.results, stage=self.stage)
        stage = Stage.RCPT if self.closing else self.stage
        return Answer(Ending.UNSENT, stage=stage, reply=None if self.doubted else self.reply)


class Accounting:
    """The messages whose replies are still to come, in order.

    ``check`` is what the relay says to RSET, as it was heard when nothing else was on the way, and ``accepts`` what
    it said to accept a message, if that is known.
    """

    def __init__(self, check: bytes, accepts: bytes = b"") -> None:
        self._check = check
        self._distinct = bool(accepts) and not alike(accepts, check)
        self._accepts = {shape(reply_text(accepts))}
        self._accepts_chunks = False  # whether its words for that are known: they may be others than after DATA
        self._owed: deque[Transaction] = deque()
        self.octets = 0  # of content, of those messages

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, transaction: Transaction) -> None:
        """The commands of one more message go out now."""
        self._owed.append(transaction)
        self.octets += transaction.octets

    @property
    def head(self) -> Transaction | None:
        """The message that the next reply is about."""
        return self._owed[0] if self._owed else None

    @property
    def stage(self) -> Stage:
        """What the next reply answers."""
        return self._owed[0].stage if self._owed and not self._owed[0].idle else Stage.IDLE

    def hear(self, code: int, text: bytes, handed: int) -> tuple[Transaction | None, Meaning | None]:
        """Take the next reply: the message whose last one it was, and what it means if it is the relay's trouble."""
        head = self.head
        if head is None or head.idle:
            return None, classify(Reply(code, reply_text(text)), Stage.IDLE)
        if head.stage is Stage.RSET:
            return self._checked(head, code, text)
        if self._distinct and head.stage is Stage.FINAL and goes_on(code, Stage.FINAL) and alike(text, self._check):
            return None, OUT_OF_STEP
        return None, head.hear(code, text, handed)

    def _checked(self, head: Transaction, code: int, text: bytes) -> tuple[Transaction | None, Meaning | None]:
        """``hear``, for what is said to RSET."""
        if goes_on(code, Stage.RSET):
            if not alike(text, self._check):
                return None, OUT_OF_STEP
            if head.final is not None and not self._accepts_chunks:
                self._accepts_chunks = True
                self._accepts.add(shape(head.final.text))
            return self._pop(), None
        meaning = classify(Reply(code, reply_text(text)), Stage.RSET)
        if meaning.closing:
            head.doubted = not self._believes(head)
            return self._pop(), meaning
        if meaning.surprise or head.accepted:
            return None, OUT_OF_STEP
        head.idle = True  # whatever else it says is out of step
        return None, LEAVING

    def end(self, handed: int, *, trusted: bool, closed: bool) -> list[tuple[Transaction, Answer]]:
        """What became of those whose replies will not come any more, ``handed`` octets having gone out.

        ``trusted``: replies and commands were in step so far. ``closed``: the last reply was a 421 (or LEAVING), and then the
        relay hung up. What came behind the command that this answers it has not carried out, whether it was handed over or
        not: replies come in order, and 421 closes the channel (RFC 5321 sections 3.8 and 4.2.2, RFC 2920 section 3.2).
        """
        ended = []
        while self._owed:
            head = self._pop()
            head.doubted = not (trusted and self._believes(head))
            ended.append((head, head.unanswered(-1 if closed else handed)))
        return ended

    def _believes(self, head: Transaction) -> bool:
        """Whether ``head`` is believed without the check behind it: nothing is odd, and acceptance was said as usual."""
        return not head.odd and (head.final is None or shape(head.final.text) in self._accepts)

    def _pop(self) -> Transaction:
        head = self._owed.popleft()
        self.octets -= head.octets
        return head
