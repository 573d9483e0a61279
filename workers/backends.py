"""The delivery backends of a worker: how one is built for a relay, and how any of them delivers.

Ours say what became of each recipient (``deliver``); of a plain Django-style class only ``send_messages`` is asked.
"""

from __future__ import annotations

import hashlib
import smtplib
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured, RelayTrouble
from mailqueue.mail import get_connection, mailers
from mailqueue.outcome import Ending, OnBegin, Outcome, Result, Verdict
from mailqueue.smtp.classify import Scope, Stage, classify
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.trouble import trouble_of
from workers.connections import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["build", "deliver", "fingerprint", "limits"]


def build(relay: str) -> Any:
    """A new backend for ``relay``: the MAILERS alias of that name, or MAILQUEUE_DELIVERY_BACKEND for "".

    Raises ImproperlyConfigured (MailerDoesNotExist for an alias that this worker's MAILERS lacks).
    """
    backend = mailers[relay] if relay else get_connection(conf.get("MAILQUEUE_DELIVERY_BACKEND"))
    options = _options(relay)
    if "timeout" in options:
        backend.timeout = options["timeout"]
    if getattr(backend, "stage_timeouts", None) is False:
        backend.stage_timeouts = True  # a worker never waits without end; without EMAIL_TIMEOUT it goes by RFC 5321
    return backend


def fingerprint(build: Callable[[str], Any], relay: str) -> str:
    """A text that changes with the address and the credentials of what ``build`` makes for ``relay``, and tells neither.

    It is kept in the ledger, so it is made slowly (a tenth of a second) and cut short: many passwords give the same one.
    Empty for credentials that change by themselves, got by a function at each login, and for what cannot be built.
    """
    try:
        backend = build(relay)
    except ImproperlyConfigured:
        return ""
    facts = [getattr(backend, name, None) for name in ("host", "port", "username", "password", "oauth2_token")]
    if any(map(callable, facts)):
        return ""
    named = f"{type(backend).__module__}.{type(backend).__qualname__} {[str(fact) for fact in facts]}"
    return hashlib.scrypt(named.encode("utf-8", "surrogatepass"), salt=b"mailqueue", n=2**14, r=8, p=1, dklen=4).hex()


def limits(relay: str) -> Limits:
    """How long a connection to ``relay`` is reused, by MAILQUEUE_RELAYS (the relay "" is called "default" there)."""
    options = _options(relay)
    names = {"idle": "idle_seconds", "messages": "max_messages", "age": "max_age_seconds"}
    return Limits(**{field: options[name] for field, name in names.items() if name in options})


def _options(relay: str) -> dict[str, Any]:
    options: dict[str, Any] = conf.get("MAILQUEUE_RELAYS").get(relay or "default", {})
    return options


def deliver(backend: Any, messages: Iterable[Any], on_begin: OnBegin) -> Iterator[Outcome]:
    """Send ``messages`` over ``backend``, opened if need be; yields an outcome as soon as each is known.

    Raises RelayTrouble when the relay, not a message, stands in the way; what was not yielded was not sent.
    """
    if _tells_outcomes(type(backend)):
        detailed: Iterator[Outcome] = backend.deliver(messages, on_begin)
        return detailed
    return _one_at_a_time(backend, messages, on_begin)


def _tells_outcomes(backend: type) -> bool:
    """Whether ``deliver()`` is what the class means: not if a subclass has changed only how it sends."""
    for cls in backend.__mro__:
        if "deliver" in vars(cls):
            return True
        if not vars(cls).keys().isdisjoint({"send_messages", "_send"}):
            return False
    return False


def _one_at_a_time(backend: Any, messages: Iterable[Any], on_begin: OnBegin) -> Iterator[Outcome]:
    """One message a call: only so does a count tell which one was sent."""
    _open(backend)
    for message in messages:
        if not on_begin([message])[0]:
            continue
        recipients = list(dict.fromkeys(message.recipients()))
        try:
            count = backend.send_messages([message])
        except Exception as error:  # noqa: BLE001 - a stranger's code: whatever it raises has to become an outcome
            outcome = _of_exception(message, recipients, error)
        else:
            outcome = _of_count(message, recipients, count)
        yield outcome
        if outcome.ending is Ending.UNSENT:
            raise RelayTrouble(outcome.reason, stage="send_messages", reconnect=False)


def _open(backend: Any) -> None:
    """Open a connection that stays open between the calls, if ``backend`` has such a thing. Raises RelayTrouble."""
    if hasattr(backend, "open"):
        try:
            backend.open()
        except OSError as error:  # smtplib's and ssl's exceptions are kinds of it
            raise trouble_of(error) from error


def _of_count(message: Any, recipients: list[str], count: object) -> Outcome:
    """``send_messages()`` returned: 1 is sent, 0 is not, anything else (a forgotten return) tells nothing."""
    if count is None or not isinstance(count, int):
        return Outcome(message, Ending.UNKNOWN, reason=f"send_messages() returned {type(count).__name__}, not a number")
    if count >= 1:
        result = Result(Verdict.ACCEPTED, Reply(250, "accepted by the backend"))
    else:
        result = Result(Verdict.DEFERRED, Reply(451, "4.3.0 the backend says that it sent nothing"))
    return Outcome(message, Ending.ANSWERED, dict.fromkeys(recipients, result))


def _of_exception(message: Any, recipients: list[str], error: Exception) -> Outcome:
    """``send_messages()`` raised: an SMTP reply is classified, anything else may have happened after the last byte."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _refused(message, recipients, error)
    if isinstance(error, smtplib.SMTPResponseException):
        stage = {
            smtplib.SMTPConnectError: Stage.GREETING,
            smtplib.SMTPHeloError: Stage.EHLO,
            smtplib.SMTPAuthenticationError: Stage.AUTH,
            smtplib.SMTPSenderRefused: Stage.MAIL,
        }.get(type(error), Stage.FINAL)
        reply = _reply(error.smtp_code, error.smtp_error)
        meaning = classify(reply, stage)
        if meaning.scope is Scope.RELAY:
            return Outcome(message, Ending.UNSENT, reason=str(reply))
        return Outcome(message, Ending.ANSWERED, dict.fromkeys(recipients, Result(meaning.verdict, reply)))
    return Outcome(message, Ending.UNKNOWN, reason=f"{type(error).__name__} after the call began")


def _refused(message: Any, recipients: list[str], error: smtplib.SMTPRecipientsRefused) -> Outcome:
    """All recipients were refused; the exception has their replies under their bare addresses."""
    replies = {address: _reply(*answer) for address, answer in error.recipients.items()}
    fallback = next(iter(replies.values()), Reply(550, "refused"))
    results = {}
    for recipient in recipients:
        reply = replies.get(recipient) or next((r for a, r in replies.items() if a and a in recipient), fallback)
        results[recipient] = Result(classify(reply, Stage.RCPT).verdict, reply)
    return Outcome(message, Ending.ANSWERED, results)


def _reply(code: int, text: bytes | str) -> Reply:
    return Reply(code, text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
