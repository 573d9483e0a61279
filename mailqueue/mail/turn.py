"""The messages of one delivery: taken when there is room for them, made ready, and what is left of each of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mailqueue.mail.letter import BAD_MESSAGE, Letter, bad_message
from mailqueue.outcome import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailqueue.smtp.session import Answer, Mail

__all__ = ["Feed", "Turn"]


@dataclass(slots=True, eq=False)
class Turn:
    """A message whose turn it is: its ``letter``, and the ``mail`` that is still to be sent of it.

    ``outcome`` is that of a message that is not for the relay: it has no recipients, or no mail can be made of it.
    """

    message: Any
    letter: Letter | None = None
    mail: Mail | None = None
    outcome: Outcome | None = None

    @classmethod
    def of(cls, message: Any) -> Turn:
        """Make ``message`` ready."""
        recipients: list[Any] = []
        try:
            recipients = message.recipients()
            if not recipients:
                return cls(message, outcome=Outcome(message, Ending.ANSWERED, local=True))
            letter = Letter.of(message, recipients)
        except BAD_MESSAGE as error:
            results = dict.fromkeys(recipients, bad_message(error))
            reason = f"cannot be sent: {type(error).__name__}"
            return cls(message, outcome=Outcome(message, Ending.ANSWERED, results, reason, local=True))
        return cls(message, letter, letter.mail)

    def end(self, answer: Answer) -> Outcome:
        """The outcome that ``answer`` is, by the recipients as the message names them."""
        assert self.letter is not None
        return Outcome(self.message, answer.ending, self.letter.results(answer.results), _reason(answer))


class Feed:
    """Takes from ``messages`` no sooner than it is asked to. Turns that are not over are given again, before others."""

    def __init__(self, messages: Iterable[Any]) -> None:
        self._messages = iter(messages)
        self._again: deque[Turn] = deque()

    def take(self) -> Turn | None:
        """The next turn; None if there is none."""
        if self._again:
            return self._again.popleft()
        for message in self._messages:
            return Turn.of(message)
        return None

    def back(self, turn: Turn) -> None:
        """It was taken too soon."""
        self._again.appendleft(turn)

    def go_on(self, turn: Turn, answer: Answer) -> None:
        """Let ``turn`` be given again, if ``answer`` leaves recipients for another transaction."""
        if answer.rest and turn.mail is not None:
            turn.mail = replace(turn.mail, recipients=answer.rest)
            self._again.append(turn)


def _reason(answer: Answer) -> str:
    """One line on what ended a transaction, without the reply's text, which may hold addresses."""
    if answer.stage is None:
        return ""
    reply = answer.reply
    if reply is None:
        return f"{answer.stage}: connection lost"
    return " ".join(filter(None, (f"{answer.stage}:", str(reply.code), reply.enhanced)))
