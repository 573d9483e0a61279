"""The transaction loop for relays that take many commands at a time: PIPELINING (RFC 2920), with CHUNKING if they can.

With CHUNKING (RFC 3030) whole messages follow each other, a window of them unanswered. Without, DATA has to be answered
before its content goes out; the content, and the next message up to its DATA, then go out at once, so that a message
costs one round trip. What replies mean is ``classify``'s, which of them is whose ``accounting``'s to say.
"""

from __future__ import annotations

import smtplib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from mailqueue.errors import RelayTrouble
from mailqueue.outcome import Ending, Verdict
from mailqueue.smtp.accounting import Accounting, Transaction
from mailqueue.smtp.classify import Meaning, Stage
from mailqueue.smtp.duplex import Duplex
from mailqueue.smtp.offer import beyond_ascii
from mailqueue.smtp.reply import Reply, reply_text
from mailqueue.smtp.session import GRACE, Answer, ascii_only, with_final_dot
from mailqueue.smtp.trouble import may_pass, trouble_with
from mailqueue.smtp.window import OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from mailqueue.outcome import Result
    from mailqueue.smtp.habits import Habits
    from mailqueue.smtp.offer import Offer
    from mailqueue.smtp.session import Mail, Session

__all__ = ["Feed", "Piece", "Stream", "goes_in_company"]

_FAREWELL = 5.0  # s for a relay that has said 421 to hang up, or else to go on
_RSET = b"RSET\r\n"


class Piece(Protocol):
    """What a feed gives: a message, and what is to be sent of it; None for one whose outcome is known already."""

    mail: Mail | None


class Feed(Protocol):
    """Gives messages as they are wanted."""

    def take(self) -> Any:
        """The next piece; None if there is none."""

    def back(self, piece: Any) -> None:
        """The last piece is to be given again."""


def goes_in_company(mail: Mail, offer: Offer) -> bool:
    """Whether ``mail`` may go out with others: not if it is large, or larger than the relay takes. MAIL will tell then."""
    return len(mail.content) <= OCTETS and offer.takes(len(mail.content))


class Stream:
    """Many messages over one connection, on which ``session`` has no transaction open.

    ``check`` is the relay's reply to RSET. ``begin`` and ``on_wait`` are those of ``deliver``.
    """

    def __init__(
        self,
        session: Session,
        offer: Offer,
        habits: Habits,
        check: bytes,
        begin: Callable[[list[Any]], Sequence[bool]],
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self._session = session
        self._timeouts = session.timeouts
        self._offer = offer
        self._habits = habits
        self._window = habits.window
        self._begin = begin
        self._on_wait = on_wait
        self._accounting = Accounting(check, session.accepts)
        self._duplex = Duplex(session.connection)
        self._begun: deque[Transaction] = deque()  # not written yet
        self._open: Transaction | None = None  # its DATA is out, and not answered
        self._content = b""  # of that one, as it is to be written
        self._left = habits.left(session)
        self._ends = False  # nothing more is taken from the feed
        self._idle = True  # nothing is on its way
        self._times_trip = False  # the next reply tells how long the way there and back is
        self._asked_at = 0.0  # when the command was written that it answers
        self._news = False  # answers were given since on_wait was called
        self._trouble: RelayTrouble | None = None  # nothing more is begun or written
        self._parting = False  # the last reply was a 421, or as good as that

    def run(self, feed: Feed) -> Generator[tuple[Any, Answer | None], None, None]:
        """Send what ``feed`` gives; yields the pieces with their answers, as these are read.

        Returns when the feed is empty, or its next piece is to go in another way; no transaction is open then.
        Raises RelayTrouble, the connection closed, when every piece that had begun has its answer.
        """
        self._window.begins()
        try:
            while True:
                if self._trouble is None:
                    yield from self._fill(feed)
                if not self._awaits():
                    break
                for each in self._replies():
                    self._news = True
                    yield each
            if self._trouble is not None:
                yield from self._end(trusted=True, closed=False)
                raise self._trouble
        finally:
            self._duplex.close()
            if self._accounting or self._trouble is not None:
                self._session.abort()

    # -- writing

    def _fill(self, feed: Feed) -> Iterator[tuple[Any, Answer | None]]:
        """Begin and write what there is room for; yields what needs no relay."""
        if self._offer.chunking:
            size = self._window.size if self._session.served else 1
            group = self._window.group
            least = min(group, size - size // 2)
            while (room := size - len(self._accounting)) >= least and self._accounting.octets <= OCTETS // 2:
                yield from self._take(feed, min(group, room))
                if not self._begun:
                    return
                self._write_all()
            return
        if not self._begun:
            yield from self._take(feed, max(1, self._window.size // 2) if self._session.served else 1)
        if self._open is None and self._begun:
            self._write(self._envelope(self._begun.popleft()))
            if not self._begun and self._session.served:  # while the relay thinks
                yield from self._take(feed, max(1, self._window.size // 2))
        if self._open is not None and not self._content:  # as well
            self._content = with_final_dot(self._open.mail.content)

    def _take(self, feed: Feed, room: int) -> Iterator[tuple[Any, Answer | None]]:
        """Take at most ``room`` messages and begin them."""
        group: list[tuple[Any, dict[str, Result]]] = []
        octets = self._accounting.octets
        while len(group) < room and not self._ends:
            piece = feed.take() if self._left is None or self._left > 0 else None
            if piece is None:
                self._ends = True
                break
            mail = piece.mail
            if mail is None:
                yield piece, None
                continue
            size = len(mail.content)
            if not goes_in_company(mail, self._offer):
                self._ends = True
            if self._ends or (octets + size > OCTETS and (group or self._accounting)):
                feed.back(piece)
                break
            octets += size
            refused: Answer | dict[str, Result] = {}
            if not self._offer.utf8 and beyond_ascii(mail):
                refused = ascii_only(mail)
            if isinstance(refused, Answer):
                yield piece, refused
                continue
            group.append((piece, refused))
            if self._left is not None:
                self._left -= 1
        if not group:
            return
        granted = self._begin([piece for piece, _ in group])
        chunked = self._offer.chunking
        self._begun.extend(
            Transaction(piece, piece.mail, refused, chunked=chunked)
            for (piece, refused), ours in zip(group, granted, strict=True)
            if ours
        )

    def _write_all(self) -> None:
        """Write the messages that have begun, whole."""
        buffers: list[bytes] = []
        at = self._duplex.queued
        for transaction in self._begun:
            commands = self._commands(transaction)
            content = transaction.mail.content
            end = b"" if content.endswith(b"\r\n") else b"\r\n"
            head = b"%sBDAT %d LAST\r\n" % (commands, len(content) + len(end))
            at += len(head) + len(content) + len(end)
            transaction.end = at
            at += len(_RSET)
            buffers += (head, content, end + _RSET)
            self._accounting.owe(transaction)
        self._begun.clear()
        self._write(buffers)

    def _envelope(self, transaction: Transaction) -> list[bytes]:
        """The commands of a message up to its DATA."""
        self._open, self._content = transaction, b""
        self._accounting.owe(transaction)
        return [self._commands(transaction), b"DATA\r\n"]

    def _after_data(self, transaction: Transaction) -> None:
        """DATA is answered: send the content if it is wanted, and begin with the next message."""
        self._open = None
        transaction.idle = False
        buffers: list[bytes] = []
        if transaction.stage is Stage.FINAL:
            # A relay that wants content for nobody gets none, and should refuse that (RFC 2920 section 3.1).
            buffers = [self._content if transaction.accepted else b".\r\n"]
            transaction.end = self._duplex.queued + len(buffers[0])
        buffers.append(_RSET)
        if self._begun:
            buffers += self._envelope(self._begun.popleft())
        self._write(buffers)

    def _commands(self, transaction: Transaction) -> bytes:
        international = beyond_ascii(transaction.mail) and self._offer.utf8
        lines = [self._offer.mail(transaction.mail, international=international)]
        lines += [f"rcpt TO:<{recipient}>" for recipient in transaction.asked]
        lines.append("")
        return "\r\n".join(lines).encode()

    def _write(self, buffers: list[bytes]) -> None:
        self._window.written()
        if self._idle:
            self._idle = False
            self._asked_at = time.monotonic()
            self._times_trip = self._offer.chunking  # else but one is on its way, and what is begun ahead of it
        self._duplex.put(buffers)

    # -- reading

    def _replies(self) -> list[tuple[Any, Answer]]:
        """Wait for replies; the messages whose last ones have come. Sets ``_trouble``."""
        try:
            replies = self._wait()
        except smtplib.SMTPServerDisconnected as error:
            return self._lost(error)
        if self._times_trip:
            self._times_trip = False
            self._window.trip(time.monotonic() - self._asked_at)
        answered: list[tuple[Any, Answer]] = []
        for code, text in replies:
            stage = self._accounting.stage
            transaction, meaning = self._accounting.hear(code, text, self._duplex.handed)
            self._parting = meaning is not None and meaning.closing
            if transaction is not None:
                answered.append((transaction.item, transaction.answer()))
            if meaning is not None and meaning.surprise:
                self._count(answered)
                return answered + self._out_of_step(code, text, stage)
            if meaning is not None:
                self._part(Reply(code, reply_text(text)), stage, meaning, len(answered))
        self._count(answered)
        if self._open is not None and self._open.idle and self._trouble is None:
            self._after_data(self._open)
        self._idle = not self._accounting
        return answered

    def _count(self, answered: list[tuple[Any, Answer]]) -> None:
        served = sum(answer.served for _, answer in answered)
        self._habits.kept += served
        self._session.served += served
        self._window.heard(len(answered))

    def _awaits(self) -> bool:
        """Whether a reply is still to come: in trouble only to what was written whole, with the RSET behind it."""
        head = self._accounting.head
        if head is None or self._trouble is None:
            return head is not None
        return head.end is not None and head.end + len(_RSET) <= self._duplex.handed

    def _wait(self) -> list[tuple[int, bytes]]:
        """The replies that come next. Raises smtplib.SMTPServerDisconnected, also when the time is over.

        That begins with the wait, since what passed before was not the relay's; and whenever the network has taken
        something of a message, the answer to which cannot come before it has all.
        """
        began = since = time.monotonic()
        while True:
            head = self._accounting.head
            writing = self._duplex.busy and not (head is not None and head.is_out(self._duplex.handed))
            limit = self._limit(writing=writing)
            now = time.monotonic()
            patience = 3600.0 if limit is None else max(0.0, since + limit - now)
            if self._news and self._on_wait is not None:
                if now - began >= GRACE:
                    self._news = False
                    self._on_wait()
                    since = time.monotonic()
                    continue
                patience = min(patience, GRACE - (now - began))
            handed = self._duplex.handed
            replies = self._duplex.turn(patience)
            if replies:
                return replies
            now = time.monotonic()
            if writing and self._duplex.handed > handed:
                since = now
            elif limit is not None and now >= since + limit:
                error = TimeoutError("timed out")
                raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error

    def _limit(self, *, writing: bool) -> float | None:
        """Seconds for the next reply; while the message is still ``writing``, for the network to take a block of it."""
        # With chunks any reply may lie in the relay's buffer until it has dealt with the content that came behind.
        stage = Stage.FINAL if self._offer.chunking else self._accounting.stage
        limit = self._timeouts.block if writing else self._timeouts.reply(stage)
        limit = self._duplex.usual if limit is None else limit
        head = self._accounting.head
        if self._parting and head is not None and not head.accepted:  # it may take its time over a content
            limit = _FAREWELL if limit is None else min(limit, _FAREWELL)
        return limit

    # -- trouble

    def _part(self, reply: Reply, stage: Stage, meaning: Meaning, answered: int) -> None:
        """The relay takes no more from us now: nothing more goes out, but what is on its way has answers to come.

        It hangs up after a 421, as a rule (RFC 5321 section 3.8), and has then carried out nothing behind it. Exim's
        limit of messages is one after which it goes on, and answers all of it.
        """
        self._duplex.drop()
        if self._trouble is not None:
            return
        self._trouble = trouble_with(reply, stage, reconnect=meaning.verdict is Verdict.DEFERRED)
        if stage is Stage.MAIL and meaning.closing:
            self._habits.limited(self._session.served + answered)

    def _out_of_step(self, code: int, text: bytes, stage: Stage) -> list[tuple[Any, Answer]]:
        """A reply that cannot be the one that is owed: there is no telling which of them is whose."""
        self._trouble = self._trouble or trouble_with(Reply(code, reply_text(text)), stage, reconnect=True)
        self._habits.surprised(chunking=self._offer.chunking)
        return self._end(trusted=False, closed=False)

    def _lost(self, error: smtplib.SMTPServerDisconnected) -> list[tuple[Any, Answer]]:
        """The connection ended, or the relay was silent for too long."""
        stage = self._accounting.stage
        ended = self._end(trusted=True, closed=self._parting and may_pass(error))
        if self._trouble is None:
            self._trouble = RelayTrouble(f"{stage}: {error}", stage=stage, text=str(error), reconnect=may_pass(error))
            self._trouble.__cause__ = error
            served = self._session.served + sum(answer.served for _, answer in ended)
            self._habits.lost(error, stage, served=served)
        return ended

    def _end(self, *, trusted: bool, closed: bool) -> list[tuple[Any, Answer]]:
        handed = self._duplex.handed
        ended = [(each.item, answer) for each, answer in self._accounting.end(handed, trusted=trusted, closed=closed)]
        ended += [(each.item, Answer(Ending.UNSENT, stage=Stage.MAIL)) for each in self._begun]
        self._begun.clear()
        return ended
