"""What can still be done with messages that are accepted: cancel, hold, release, requeue, and settle what is unknown.

Each takes ids or receipts, or finds its messages by state, lane and relay; and each answers with a word for every
message that it looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from mailqueue.errors import InvalidMessage
from mailqueue.lanes import check_lane
from mailqueue.ledger.states import State
from mailqueue.producer import Cancellation, Receipt, get_producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Messages", "cancel", "find", "hold", "release", "requeue", "resolve"]

#: One message or several, by id or receipt.
Messages: TypeAlias = str | Receipt | Iterable[str | Receipt]

_Word = TypeVar("_Word", bound=str)

#: Messages that one call of the ledger looks at: what it does in a few ms, for it does nothing else meanwhile.
_PAGE: Final = 200

#: Where each looks for its messages when no state is given: the states that it leads out of.
_CANCEL: Final = (State.SCHEDULED, State.QUEUED, State.DEFERRED, State.HELD)
_HOLD: Final = (State.SCHEDULED, State.QUEUED, State.DEFERRED)
_RELEASE: Final = (State.HELD,)
_REQUEUE: Final = (State.FAILED, State.PARTIAL)


def cancel(
    messages: Messages | None = None,
    *,
    state: State | str | None = None,
    lane: str | None = None,
    relay: str | None = None,
) -> dict[str, Cancellation]:
    """Withdraw messages: ``messages``, or all that the filter finds. Tells for each id what it could do.

    "cancelled"; "cancelling" if it may be going out just now, or its answer was lost: no further copy goes out;
    "late" if it is final already; "missing".

    Args:
        messages: An id, a receipt, or several; not beside a filter.
        state: Only those in this state; any but sent, cancelled and expired. Default: all that can be cancelled.
        lane: Only those of this lane.
        relay: Only those for this alias; "" is the default delivery backend.

    Raises:
        TypeError: for neither messages nor a filter, and for both.
        InvalidMessage: a ValueError, for a state or a lane that is none.
        LedgerUnavailable, SpoolError: those before it are done.
    """
    return _apply(get_producer().cancel, messages, _CANCEL, state, lane, relay)


def hold(
    messages: Messages | None = None,
    *,
    reason: str = "",
    state: State | str | None = None,
    lane: str | None = None,
    relay: str | None = None,
) -> dict[str, str]:
    """Park messages until ``release()``. Arguments and errors as with ``cancel()``.

    "held"; "holding" if it may be going out just now; "cancelling" if it is to be cancelled; "late"; "missing".
    """
    return _apply(lambda ids: get_producer().ledger.hold(ids, reason), messages, _HOLD, state, lane, relay)


def release(
    messages: Messages | None = None,
    *,
    state: State | str | None = None,
    lane: str | None = None,
    relay: str | None = None,
) -> dict[str, str]:
    """Let held messages go, now or at their ``send_at``. Arguments and errors as with ``cancel()``.

    "deferred": on its way; "sending" if it was to be held and is not any more; "refused" if it is not held; "missing".
    """
    return _apply(get_producer().ledger.unhold, messages, _RELEASE, state, lane, relay)


def requeue(
    messages: Messages | None = None,
    *,
    state: State | str | None = None,
    lane: str | None = None,
    relay: str | None = None,
) -> dict[str, str]:
    """Send failed and partial messages again, to their refused recipients only. Arguments and errors as ``cancel()``.

    "deferred": on its way; "refused" if it is neither failed nor partial; "missing".
    """
    return _apply(get_producer().ledger.requeue, messages, _REQUEUE, state, lane, relay)


def resolve(message: str | Receipt, state: State | str, *, reason: str = "") -> State:
    """Settle a message whose answer was lost, by what a person has found out. Returns its new state.

    Args:
        message: Unknown, or held for want of an answer; by id or receipt.
        state: sent, partial or failed; deferred sends another copy; held lets it rest.
        reason: For ``status()``.

    Raises:
        MessageNotFound:
        IllegalTransition: a ValueError: it waits for no answer, or cannot be settled so.
        LedgerUnavailable:
    """
    return get_producer().ledger.resolve(_id(message), _state(state), reason=reason)


def find(state: State | str, *, lane: str | None = None, relay: str | None = None) -> Iterator[str]:
    """The ids of the messages in ``state`` (any but sent, cancelled and expired), oldest first, as they are read.

    Raises:
        InvalidMessage: a ValueError, for a state or a lane that is none.
        LedgerUnavailable:
    """
    for page in _pages(_state(state), lane, relay):
        yield from page


def _apply(
    act: Callable[[list[str]], Iterable[_Word]],
    messages: Messages | None,
    states: Iterable[State],
    state: State | str | None,
    lane: str | None,
    relay: str | None,
) -> dict[str, _Word]:
    filtered = not (state is None and lane is None and relay is None)
    if filtered == (messages is not None):
        raise TypeError("say which messages: by ids or receipts, or by state, lane and relay")
    answers: dict[str, _Word] = {}
    if messages is not None:
        ids = list(dict.fromkeys(_ids(messages)))
        for first in range(0, len(ids), _PAGE):
            page = ids[first : first + _PAGE]
            answers.update(zip(page, act(page), strict=True))
        return answers
    for each in states if state is None else (_state(state),):
        for page in _pages(each, lane, relay):
            answers.update(zip(page, act(page), strict=True))
    return answers


def _pages(state: State, lane: str | None, relay: str | None) -> Iterator[list[str]]:
    """Ids of the messages in ``state``, each once, while the messages come and go."""
    if lane is not None:
        check_lane(lane)
    if state in (State.SENT, State.CANCELLED, State.EXPIRED):
        raise InvalidMessage(f"messages that are {state} are not listed: ask for one by its id, or for counts()")
    ledger = get_producer().ledger
    seen: set[str] = set()
    after, again = "", 0
    while page := ledger.list(state, lane=lane, relay=relay, after=after, limit=_PAGE):
        fresh = [message_id for message_id in page if message_id not in seen]
        if fresh:
            again = 0
            seen.update(fresh)
            yield fresh
        elif (again := again + 1) > len(seen) // _PAGE + 1:
            return  # the list has begun anew, as it does when ``after`` has left it, and brought nothing new
        after = page[-1]


def _ids(messages: Messages) -> Iterator[str]:
    if isinstance(messages, str | Receipt):
        yield _id(messages)
        return
    yield from map(_id, messages)


def _id(message: str | Receipt) -> str:
    if isinstance(message, Receipt):
        return message.id
    if isinstance(message, str):
        return message
    raise TypeError(f"a message is named by its id or its receipt, not by {type(message).__name__}")


def _state(state: State | str) -> State:
    try:
        return State(state)
    except ValueError:
        raise InvalidMessage(f"no state {state!r}: the states are {', '.join(State)}") from None
