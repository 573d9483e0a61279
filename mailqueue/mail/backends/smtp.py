"""The backend that sends: Django's SMTP backend, which also tells what became of every recipient.

Opens, closes and translates; the transactions are ``smtp.session``'s and ``smtp.stream``'s, the bytes ``mail.render``'s.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import smtplib
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.errors import RelayTrouble
from mailqueue.mail.backends.base import BaseEmailBackend
from mailqueue.mail.letter import Letter
from mailqueue.mail.turn import Feed, Turn
from mailqueue.mail.utils import DNS_NAME
from mailqueue.outcome import Verdict
from mailqueue.smtp.accounting import alike
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.connection import Connection, TLSConnection, reader_of
from mailqueue.smtp.exceptions import as_smtplib
from mailqueue.smtp.habits import Habits
from mailqueue.smtp.offer import Offer
from mailqueue.smtp.session import Session
from mailqueue.smtp.stream import Stream, goes_in_company
from mailqueue.smtp.timeouts import RFC_5321, Timeouts
from mailqueue.smtp.trouble import trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mailqueue.outcome import OnBegin, Outcome, Result
    from mailqueue.smtp.session import Answer, Mail

__all__ = ["EmailBackend"]

logger = logging.getLogger(__name__)

#: With an alias no setting is read; this is what options that are not given stand for then.
_DEFAULTS: dict[str, Any] = {
    "EMAIL_HOST": "",
    "EMAIL_HOST_USER": "",
    "EMAIL_HOST_PASSWORD": "",
    "EMAIL_USE_TLS": False,
    "EMAIL_USE_SSL": False,
}


class EmailBackend(BaseEmailBackend):
    """Sends over one SMTP connection, kept until ``close()`` (``django.core.mail.backends.smtp.EmailBackend``).

    What is None comes from the EMAIL_* settings, read now; with ``alias`` (an entry of MAILERS) no setting is read,
    ``host`` is required and the port follows from the kind of TLS.

    Args:
        host: The relay's name or address; its certificate must be for that, too.
        port: The relay's port.
        username: The user to log in as, if there is a password as well.
        password: Their password.
        use_tls: Begin TLS by STARTTLS.
        fail_silently: Raise neither for a relay that cannot be reached nor for what it refuses.
        use_ssl: Speak TLS from the first byte.
        timeout: Seconds for every wait; None for the system's (for ever, as a rule).
        ssl_keyfile: The client's private key, in PEM.
        ssl_certfile: The client's certificate chain, in PEM.
        alias: The name of the entry of MAILERS that this backend is.
        oauth2_token: An access token, or a function that gets one, to log in by XOAUTH2; asked at each login.
        stage_timeouts: Without ``timeout``, wait as long as RFC 5321 section 4.5.3.2 says, and never for ever.
        **kwargs: Ignored; with ``alias`` refused.

    Raises:
        ValueError: for both kinds of TLS at once.
        InvalidMailer: with ``alias``, for options that are missing, unknown or contradict each other.
    """

    takes_iterators = True

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool | None = None,
        fail_silently: bool = False,
        use_ssl: bool | None = None,
        timeout: float | None = None,
        ssl_keyfile: Any = None,
        ssl_certfile: Any = None,
        *,
        alias: str | None = None,
        oauth2_token: str | Callable[[], str] | None = None,
        stage_timeouts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(fail_silently=fail_silently, alias=alias, **kwargs)

        def default(value: Any, name: str) -> Any:
            """``value``, or else the setting; "" and False are values, and so mean themselves."""
            if value is not None:
                return value
            return conf.get(name) if alias is None else _DEFAULTS.get(name)

        self.host: str = host or default(None, "EMAIL_HOST")
        self.username: str = default(username, "EMAIL_HOST_USER")
        self.password: str = _secret(default(password, "EMAIL_HOST_PASSWORD"))
        self.use_tls: bool = default(use_tls, "EMAIL_USE_TLS")
        self.use_ssl: bool = default(use_ssl, "EMAIL_USE_SSL")
        self.timeout: float | None = default(timeout, "EMAIL_TIMEOUT")
        self.ssl_keyfile: Any = default(ssl_keyfile, "EMAIL_SSL_KEYFILE")
        self.ssl_certfile: Any = default(ssl_certfile, "EMAIL_SSL_CERTFILE")
        self.port: int = port or default(None, "EMAIL_PORT") or self._usual_port()
        self.oauth2_token = _secret(oauth2_token)
        self.stage_timeouts = stage_timeouts
        self._check()
        self.connection: smtplib.SMTP | None = None
        self._partial_connection: smtplib.SMTP | None = None  # open, but not in TLS or not logged in yet
        self._session: Session | None = None
        #: Messages unanswered at most, for a relay that offers PIPELINING; 1 sends one at a time, None is for what
        #: the round trip and the relay's pace call for.
        self.window: int | None = None
        self._habits = Habits()
        self._silenced: OSError | None = None  # what open() last failed with silently
        self._stage = Stage.CONNECT  # how far the last open() came
        self._lock = threading.RLock()

    def _usual_port(self) -> int:
        """The port for a relay of which only the host is named: RFC 8314's for TLS, RFC 6409's for submission, or 25."""
        if self.use_ssl:
            return 465
        return 587 if self.use_tls else 25

    def _check(self) -> None:
        if self.alias is not None and not self.host:
            raise self.invalid_mailer("OPTIONS must define 'host'.")
        if self.use_ssl and self.use_tls:
            if self.alias is not None:
                raise self.invalid_mailer("use_tls and use_ssl exclude each other; keep TLS for port 587, SSL for 465.")
            raise ValueError(
                "EMAIL_USE_TLS/EMAIL_USE_SSL are mutually exclusive, so only set one of those settings to True."
            )

    # -- the connection

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        """The class that connects; a subclass may name another, called as ``smtplib.SMTP`` is."""
        return TLSConnection if self.use_ssl else Connection

    @functools.cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context: certificates and host names are verified. Assign or override it for a CA of your own."""
        context = ssl.create_default_context()
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("a private key (ssl_keyfile) is of no use without its certificate (ssl_certfile)")
        if self.ssl_certfile:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        return context

    def open(self) -> bool | None:
        """Connect, begin TLS and log in, as configured, unless that was done.

        Returns True if it did so, False if the connection was open, None if it failed and ``fail_silently`` is set.
        Raises OSError, of which smtplib's exceptions and ssl's are kinds.
        """
        if self.connection:
            return False
        partial, self._partial_connection = self._partial_connection, None
        if partial is not None:
            self._close_connection(partial)
        try:
            self._connect()
        except OSError as error:
            if not self.fail_silently:
                raise
            self._silenced = error
            return None
        return True

    def _connect(self) -> None:
        self._stage = Stage.CONNECT
        connection_class = self.connection_class
        parameters: dict[str, Any] = {"local_hostname": DNS_NAME.get_fqdn()}
        if self.timeout is not None:
            parameters["timeout"] = self.timeout
        elif self.stage_timeouts:
            ours = isinstance(connection_class, type) and issubclass(connection_class, Connection)
            parameters |= {"timeouts": RFC_5321} if ours else {"timeout": RFC_5321.command}
        if self.use_ssl:
            parameters["context"] = self.ssl_context
        # Until it is safe to use, it must not be found in `connection` (CVE-2026-7666).
        self._partial_connection = connection_class(self.host, self.port, **parameters)
        if self.use_tls and not self.use_ssl:
            self._stage = Stage.STARTTLS
            self._partial_connection.starttls(context=self.ssl_context)
        self._stage = Stage.AUTH
        self._log_in(self._partial_connection)
        self._stage = Stage.EHLO
        self.connection, self._partial_connection = self._partial_connection, None

    def _log_in(self, connection: smtplib.SMTP) -> None:
        if self.username and self.oauth2_token:
            token = self.oauth2_token
            if not isinstance(connection, Connection):
                raise smtplib.SMTPNotSupportedError(f"{type(connection).__name__} does not speak XOAUTH2.")
            connection.login_xoauth2(self.username, token if isinstance(token, str) else self._fresh_token(token))
        elif self.username and self.password:
            connection.login(self.username, self.password)

    @staticmethod
    def _fresh_token(get_token: Callable[[], str]) -> str:
        try:
            return get_token()
        except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise RelayTrouble(
                f"{Stage.AUTH}: no OAuth 2.0 token: {type(error).__name__}", stage=Stage.AUTH, reconnect=True
            ) from error

    def close(self) -> None:
        """Say QUIT and close; a relay that is gone already does not matter."""
        partial, whole = self._partial_connection, self.connection
        self._partial_connection = self.connection = self._session = None
        try:
            if partial is not None:
                self._close_connection(partial)
        finally:
            if whole is not None:
                self._close_connection(whole)

    def _close_connection(self, connection: smtplib.SMTP) -> None:
        try:
            connection.quit()
        except (ssl.SSLError, smtplib.SMTPServerDisconnected):
            pass  # it hung up first
        except smtplib.SMTPException:
            if not self.fail_silently:
                raise
        finally:
            connection.close()

    def _abandon(self) -> None:
        """Forget the connection, without a word to a relay that may not be there to hear it."""
        connections = (self._partial_connection, self.connection)
        self._partial_connection = self.connection = self._session = None
        for connection in connections:
            if connection is not None:
                connection.close()

    def probe(self) -> bool:
        """Whether the open connection still works: RSET is answered as it should be, within 5 s.

        If not, it is closed already, and the next ``open()`` connects anew.
        """
        if self.connection is None:
            return False
        alive = self._session_over(self.connection).probe()
        if not alive:
            self._abandon()
        return alive

    def _session_over(self, connection: smtplib.SMTP) -> Session:
        if self._session is None or self._session.connection is not connection:
            by_stage = self.timeout is None and self.stage_timeouts
            timeouts = RFC_5321 if by_stage else Timeouts.uniform(self.timeout)
            self._session = Session(connection, timeouts)
        return self._session

    # -- delivery with an outcome per recipient

    def deliver(
        self,
        messages: Iterable[Any],
        on_begin: OnBegin | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> Iterator[Outcome]:
        """Send ``messages`` over the connection, opened if need be; yields what became of each, as replies are read.

        A relay that offers PIPELINING has several messages unanswered, as many as ``window`` allows; they are taken
        from ``messages`` as there is room for them. Any other is sent one by one. The first message on a connection
        goes alone, and to a stranger by plain commands: a relay that takes nothing is not met with a window full of mail.

        ``on_begin`` is called with the messages whose last bytes go out next, before that of any of them does: those
        of a window, or one. A message for which it says False is taken back and has no outcome; the others have one,
        and before it PROGRESS if the relay takes not all of their recipients in one transaction. ``on_wait`` is called
        when there were outcomes, and the relay has now been silent for 10 ms. Results go by the strings of
        ``message.recipients()``.

        Raises RelayTrouble, the connection closed, when the relay stands in the way. Each message that had begun, and
        the one it happened at, has its outcome before that: UNKNOWN if its last byte was handed to the network and
        its answer not read, UNSENT, or the answer it got. The others were not sent. Calling again with those connects
        anew. ``fail_silently`` means nothing here. For one thread at a time.
        """
        feed = Feed(messages)
        while (turn := feed.take()) is not None:
            if turn.outcome is not None:
                yield turn.outcome
                continue
            session = self._ready(on_wait)
            stream = self._stream(session, turn, on_begin, on_wait)
            if stream is not None:
                feed.back(turn)
                yield from self._deliver_many(stream, session, feed)
            elif session.closed:
                self._abandon()
                feed.back(turn)
            else:
                session.on_wait = on_wait
                try:
                    yield from self._deliver_one(session, turn, feed, on_begin)
                finally:
                    session.on_wait = None

    def _stream(
        self, session: Session, turn: Turn, on_begin: OnBegin | None, on_wait: Callable[[], None] | None
    ) -> Stream | None:
        """The stream that ``turn`` is the first message of; None if it is to go by plain commands.

        The session is closed if the relay turned out to take no more than one command at a time, or was leaving.
        """
        connection, habits = session.connection, self._habits
        offer = Offer.of(connection)
        if habits.unchunked:
            offer = replace(offer, chunking=False)
        if not self._may_stream(session) or not offer.pipelining:
            return None
        if turn.mail is None or not goes_in_company(turn.mail, offer):
            return None
        if reader_of(connection).unasked():
            return None  # what it has to say is heard before MAIL
        if session.check is None:
            session.check = self._test(session)
        if session.check is None:
            return None
        habits.accepts = session.accepts = session.accepts or habits.accepts
        if not session.accepts or alike(session.accepts, session.check):
            return None  # a reply too many, or one too few, could not be told from what it says to RSET

        def begin(turns: list[Turn]) -> Sequence[bool]:
            return [True] * len(turns) if on_begin is None else on_begin([turn.message for turn in turns])

        habits.window.limit = self.window
        return Stream(session, offer, habits, session.check, begin, on_wait)

    def _test(self, session: Session) -> bytes | None:
        """What the relay says to RSET, if it answers two commands that come together."""
        try:
            check = session.in_step()
        except smtplib.SMTPServerDisconnected:
            self._habits.tested(passed=None)
            return None
        self._habits.tested(passed=check is not None)
        self._habits.window.connected()
        return check

    def _may_stream(self, session: Session) -> bool:
        """Whether several messages may be on their way over this connection, as far as that is not the relay's to say."""
        connection, habits = session.connection, self._habits
        if not isinstance(connection, Connection) or connection.debuglevel > 0:
            return False
        if (self.window or 2) < 2 or habits.plain or habits.left(session) == 0:
            return False
        return bool(session.served or (habits.kept and not habits.doubted))  # no stranger

    def _deliver_many(self, stream: Stream, session: Session, feed: Feed) -> Iterator[Outcome]:
        try:
            with contextlib.closing(stream.run(feed)) as answers:
                for turn, answer in answers:
                    if answer is None:
                        yield turn.outcome  # it is not for the relay
                    else:
                        yield turn.end(answer)
                        feed.go_on(turn, answer)
        finally:
            if session.closed:
                self._abandon()

    def _deliver_one(self, session: Session, turn: Turn, feed: Feed, on_begin: OnBegin | None) -> Iterator[Outcome]:
        mail = turn.mail
        assert mail is not None
        answer = self._transact(session, mail, lambda: on_begin is None or on_begin([turn.message])[0])
        if not answer.withdrawn and not answer.barred:
            yield turn.end(answer)
        if answer.trouble is not None:
            raise answer.trouble
        feed.go_on(turn, answer)

    def _ready(self, on_wait: Callable[[], None] | None = None) -> Session:
        """The session over the open connection, greeted. Raises RelayTrouble."""
        if self.connection is None and on_wait is not None:
            on_wait()
        try:
            self._silenced = None
            if self.open() is None or self.connection is None:
                raise self._silenced or ConnectionError("open() failed silently")
            session = self._session_over(self.connection)
            session.hello()
        except RelayTrouble:
            self._abandon()
            raise
        except (OSError, ValueError) as error:  # ValueError: credentials that are not ASCII
            trouble = trouble_of(error, self.failed_at)
            self._abandon()
            raise trouble from error
        return session

    @property
    def failed_at(self) -> Stage:
        """Where the last ``open()`` failed, if it did; for ``trouble_of``."""
        # STARTTLS and AUTH are preceded by an EHLO, which smtplib sends for them.
        connection = self._partial_connection
        if connection is not None and connection.ehlo_resp is None and connection.helo_resp is None:
            return Stage.EHLO
        return self._stage

    def _transact(self, session: Session, mail: Mail, begin: Callable[[], bool] = lambda: True) -> Answer:
        try:
            return session.transact(mail, begin)
        finally:
            if session.closed:
                self._abandon()

    # -- sending as Django does

    def send_messages(self, email_messages: Iterable[Any]) -> int:
        """Send messages, each its own transaction; returns how many were accepted for at least one recipient.

        A connection that it opened it closes. Raises what a synchronous Django send raises, unless ``fail_silently``:
        smtplib's SMTPSenderRefused, SMTPRecipientsRefused (only if all are), SMTPDataError, SMTPServerDisconnected;
        and ValueError for messages that must not be sent. The ones behind it are then not sent. After a lost
        connection a new one is opened for the next message.
        """
        if not email_messages:
            return 0
        with self._lock:
            opened = self.open()
            if opened is None or not self.connection:
                return 0  # silently
            sent = 0
            try:
                for message in email_messages:
                    if not self.connection and not self.open():
                        break  # silently
                    sent += bool(self._send(message))
            finally:
                if opened:
                    self.close()
            return sent

    def _send(self, email_message: Any) -> bool:
        """Send one message over the open connection; says whether anybody gets it."""
        recipients = email_message.recipients()
        if not recipients:
            return False
        mail = Letter.of(email_message, recipients).mail
        try:
            self._send_mail(mail)
        except smtplib.SMTPException:
            if not self.fail_silently:
                raise
            return False
        return True

    def _send_mail(self, mail: Mail) -> None:
        """As many transactions as it takes; raises as ``smtplib.SMTP.sendmail`` does if nobody is accepted."""
        assert self.connection is not None
        session = self._session_over(self.connection)
        try:
            session.hello()
        except smtplib.SMTPServerDisconnected:
            self._abandon()
            raise
        answer = self._transact(session, mail)
        results: dict[str, Result] = dict(answer.results)
        while answer.rest and answer.trouble is None:
            answer = self._transact(session, replace(mail, recipients=answer.rest))
            results |= answer.results
        refused = {address: result.reply for address, result in results.items() if result.verdict != Verdict.ACCEPTED}
        if len(refused) == len(results):
            raise as_smtplib(answer, mail.sender, refused)
        missed = len(mail.recipients) - len(results) + len(refused)
        if missed:
            logger.warning("action=recipients_refused refused=%d of=%d", missed, len(mail.recipients))


def _secret(value: Any) -> Any:
    """Text that no ``repr`` shows; anything else (a function that gets a token) as it is."""
    return conf.Secret(value) if isinstance(value, str) else value
