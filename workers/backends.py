"""The delivery backends of a worker: how one is built for a relay, and how any of them delivers.

Ours say what became of each recipient (``deliver``); of a plain Django-style class only ``send_messages`` is asked.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import smtplib
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured, RelayTrouble
from mailqueue.mail import get_connection, mailers
from mailqueue.mail.address import envelope_address
from mailqueue.mail.signature import Signer
from mailqueue.outcome import Ending, OnBegin, Outcome, Result, Verdict
from mailqueue.smtp.classify import Scope, Stage, classify
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.timeouts import RFC_5321
from mailqueue.smtp.trouble import may_pass, trouble_of, trouble_with
from workers.connections import Limits
from workers.signed import signed, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mailqueue.smtp.classify import Meaning

__all__ = ["build", "deliver", "fingerprint", "limits", "set_up"]

# What smtplib's exceptions are the answers to; any other one may be that to the final dot.
_STAGES: dict[type[Exception], Stage] = {
    smtplib.SMTPConnectError: Stage.GREETING,
    smtplib.SMTPHeloError: Stage.EHLO,
    smtplib.SMTPAuthenticationError: Stage.AUTH,
    smtplib.SMTPSenderRefused: Stage.MAIL,
}

#: The attribute of a backend that has what signs its messages, if they are to be signed.
_SIGNER = "mailqueue_signer"

_UNTOLD = Result(Verdict.DEFERRED, Reply(451, "4.3.0 refused, and the backend does not tell by which words"))


def build(relay: str) -> Any:
    """A new backend for ``relay``: the MAILERS alias of that name, or MAILQUEUE_DELIVERY_BACKEND for "".

    A class that has no ``timeout`` must see to it itself that it does not wait for ever.
    Raises ImproperlyConfigured (MailerDoesNotExist for an alias that this worker's MAILERS lacks), also for a key that
    its mail cannot be signed with.
    """
    backend = mailers[relay] if relay else get_connection(conf.get("MAILQUEUE_DELIVERY_BACKEND"))
    set_up(backend, _options(relay))
    return backend


def set_up(backend: Any, options: Mapping[str, Any]) -> None:
    """Give a new backend what MAILQUEUE_RELAYS has for its relay, as far as its class knows of it, and a timeout."""
    if "timeout" in options:
        backend.timeout = options["timeout"]
    if "window" in options and hasattr(backend, "window"):
        backend.window = options["window"]
    if "dkim" in options:
        setattr(backend, _SIGNER, Signer(options["dkim"]))
    # A worker never waits without end. Ours goes by RFC 5321 when there is no EMAIL_TIMEOUT; a class with one timeout
    # for all gets the longest, lest it give up on an answer that is still coming.
    if hasattr(backend, "stage_timeouts"):
        backend.stage_timeouts = True
    elif getattr(backend, "timeout", 0) is None:
        backend.timeout = RFC_5321.final


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
    """How a connection to ``relay`` is reused, and how many there may be, by MAILQUEUE_RELAYS ("" is "default" there)."""
    options = _options(relay)
    names = {"at_once": "connections", "idle": "idle_seconds", "messages": "max_messages", "age": "max_age_seconds"}
    return Limits(**{field: options[name] for field, name in names.items() if name in options})


def _options(relay: str) -> dict[str, Any]:
    options: dict[str, Any] = conf.get("MAILQUEUE_RELAYS").get(relay or "default", {})
    return options


def deliver(
    backend: Any, messages: Iterable[Any], on_begin: OnBegin, on_wait: Callable[[], None] = lambda: None
) -> Iterator[Outcome]:
    """Send ``messages`` over ``backend``, opened if need be; yields an outcome as soon as each is known.

    ``on_wait`` is called before the relay is waited for: what has been yielded is to be recorded then. A backend that
    does not know of it may wait after every outcome.
    Raises RelayTrouble when the relay, not a message, stands in the way; what was not yielded was not sent.
    """
    signer = getattr(backend, _SIGNER, None)
    if signer is not None:
        return unsigned(_deliver(backend, signed(signer, messages), on_begin, on_wait))
    return _deliver(backend, messages, on_begin, on_wait)


def _deliver(
    backend: Any, messages: Iterable[Any], on_begin: OnBegin, on_wait: Callable[[], None]
) -> Iterator[Outcome]:
    if not _tells_outcomes(type(backend)):
        return _each(_one_at_a_time(backend, messages, on_begin), on_wait)
    detailed: Iterator[Outcome]
    if _tells_waits(getattr(backend.deliver, "__func__", backend.deliver)):
        detailed = backend.deliver(messages, on_begin, on_wait=on_wait)
        return detailed
    detailed = backend.deliver(messages, on_begin)
    return _each(detailed, on_wait)


def _each(outcomes: Iterable[Outcome], on_wait: Callable[[], None]) -> Iterator[Outcome]:
    for outcome in outcomes:
        yield outcome
        on_wait()


@functools.lru_cache(maxsize=64)
def _tells_waits(deliver: Callable[..., Any]) -> bool:
    return "on_wait" in inspect.signature(deliver).parameters


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
        trouble = None
        try:
            count = backend.send_messages([message])
        except Exception as error:  # noqa: BLE001 - a stranger's code: whatever it raises has to become an outcome
            outcome, trouble = _of_exception(message, recipients, error)
        else:
            outcome = _of_count(message, recipients, count)
        yield outcome
        if trouble is not None:
            raise trouble


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


def _of_exception(message: Any, recipients: list[str], error: Exception) -> tuple[Outcome, RelayTrouble | None]:
    """``send_messages()`` raised: an SMTP reply is classified, anything else may have happened after the last byte.

    With trouble the connection must not be used again: many a class keeps a dead one, and loses all that follows.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _refused(message, recipients, error)
    if not isinstance(error, smtplib.SMTPResponseException):
        return _lost(message, error)
    stage = _STAGES.get(type(error), Stage.FINAL)
    reply = _reply(error.smtp_code, error.smtp_error)
    meaning = classify(reply, stage)
    trouble = _trouble(reply, stage, meaning)
    if stage is not Stage.FINAL:
        if meaning.scope is Scope.RELAY or meaning.verdict is Verdict.ACCEPTED:
            return _unsent(message, reply, stage, trouble)
    elif meaning.surprise or meaning.verdict is Verdict.ACCEPTED:
        # To DATA, and nothing was sent; or to the final dot, and everything was: the exception is the same.
        return Outcome(message, Ending.UNKNOWN, reason=f"{reply.code} is no answer to the content"), trouble
    outcome = Outcome(message, Ending.ANSWERED, dict.fromkeys(recipients, Result(meaning.verdict, reply)))
    return outcome, trouble if meaning.scope is Scope.RELAY else None


def _lost(message: Any, error: Exception) -> tuple[Outcome, RelayTrouble]:
    """Nobody can tell what became of the message. The text of the exception may hold addresses."""
    name = type(error).__name__
    passing = may_pass(error) or not isinstance(error, OSError)  # a bug may be over this one message
    trouble = RelayTrouble(f"send_messages: {name}", stage="send_messages", reconnect=passing)
    return Outcome(message, Ending.UNKNOWN, reason=f"{name} after the call began"), trouble


def _unsent(message: Any, reply: Reply, stage: Stage, trouble: RelayTrouble) -> tuple[Outcome, RelayTrouble]:
    reason = " ".join(filter(None, (f"{stage}:", str(reply.code), reply.enhanced)))
    return Outcome(message, Ending.UNSENT, reason=reason), trouble


def _trouble(reply: Reply, stage: Stage, meaning: Meaning) -> RelayTrouble:
    return trouble_with(reply, stage, reconnect=meaning.verdict is not Verdict.REFUSED)


def _refused(
    message: Any, recipients: list[str], error: smtplib.SMTPRecipientsRefused
) -> tuple[Outcome, RelayTrouble | None]:
    """All recipients were refused; the exception has their replies by their addresses, with or without a name."""
    encoding = getattr(message, "encoding", None)
    replies = {_bare(address, encoding): _reply(*answer) for address, answer in error.recipients.items()}
    for reply in replies.values():
        meaning = classify(reply, Stage.RCPT)
        if meaning.scope is Scope.RELAY:  # smtplib has hung up
            return _unsent(message, reply, Stage.RCPT, _trouble(reply, Stage.RCPT, meaning))
    results = {address: Result(classify(reply, Stage.RCPT).verdict, reply) for address, reply in replies.items()}
    untold = next(iter(results.values()), _UNTOLD)
    if any(result.verdict is not Verdict.REFUSED for result in results.values()):
        untold = _UNTOLD
    mine = {recipient: results.get(_bare(recipient, encoding), untold) for recipient in recipients}
    return Outcome(message, Ending.ANSWERED, mine), None


def _bare(address: Any, encoding: Any) -> str:
    """The addr-spec of ``address``, or what is there instead of one."""
    try:
        return envelope_address(address, encoding)
    except ValueError:
        return str(address)


def _reply(code: int, text: bytes | str) -> Reply:
    return Reply(code, text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
