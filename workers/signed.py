"""Messages signed for the relay that they are handed to; what the backend makes of them is then the signed bytes."""

from __future__ import annotations

import email
import functools
from typing import TYPE_CHECKING, Any, Final

from mailqueue.mail.letter import BAD_MESSAGE
from mailqueue.mail.render import fix, fixed, render
from mailqueue.outcome import Ending
from mailqueue.rendered import RenderedMIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailqueue.mail.signature import Signer
    from mailqueue.outcome import Outcome

__all__ = ["sign", "signed", "unsigned"]

#: The attribute of a signed message that keeps the bytes it was fixed to before.
_BEFORE: Final = "_octets_before_signing"


def signed(signer: Signer, messages: Iterable[Any]) -> Iterator[Any]:
    """``messages``, each signed when it is asked for."""
    for message in messages:
        sign(signer, message)
        yield message


def unsigned(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """``outcomes``, their messages as they were: a batch must not hold the bytes of all that it has sent."""
    for outcome in outcomes:
        yield outcome
        if outcome.ending in {Ending.ANSWERED, Ending.UNKNOWN}:
            _restore(outcome.message)


def sign(signer: Signer, message: Any) -> None:
    """Let ``message`` be its signed bytes, whichever way a backend asks for them. Signed once, however often it is tried.

    One that cannot be rendered stays as it is: the backend will say so. One that cannot be signed is no mail either.
    """
    attributes = vars(message)
    if _BEFORE in attributes:
        return
    try:
        octets = render(message)
    except BAD_MESSAGE:
        return
    before = fixed(message)
    try:
        octets = signer.sign(octets)
        mime = functools.partial(_mime, octets)
    except ValueError as error:
        octets, mime = b"", functools.partial(_refuse, str(error))
    attributes[_BEFORE] = before
    attributes["message"] = mime
    fix(message, octets)


def _restore(message: Any) -> None:
    attributes = vars(message)
    if _BEFORE not in attributes:
        return
    del attributes["message"]
    before = attributes.pop(_BEFORE)
    fix(message, b"" if before is None else before)


def _mime(octets: bytes) -> RenderedMIME:
    parsed = email.message_from_bytes(octets, _class=RenderedMIME)
    parsed.octets = octets
    return parsed


def _refuse(why: str) -> Any:
    raise ValueError(why)
