"""How long to wait for a relay, stage by stage (RFC 5321 section 4.5.3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from mailqueue.smtp.classify import Stage

__all__ = ["RFC_5321", "Timeouts"]

# s; after QUIT nothing is owed to anybody any more, and a worker that shuts down must not wait for it.
_FAREWELL = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each wait; None leaves the socket as it is, which is for ever unless somebody gave it a timeout."""

    connect: float | None
    command: float | None  # the reply to the greeting, EHLO, STARTTLS, AUTH, MAIL and RCPT
    data: float | None  # the reply to DATA
    block: float | None  # one block of content to be taken by the network
    final: float | None  # the reply to the final dot
    reset: float | None
    quit: float | None

    @classmethod
    def uniform(cls, seconds: float | None) -> Timeouts:
        """The same for every stage, as EMAIL_TIMEOUT has it; but nobody waits longer for QUIT than they must."""
        farewell = None if seconds is None else min(_FAREWELL, seconds)
        return cls(seconds, seconds, seconds, seconds, seconds, seconds, farewell)

    def reply(self, stage: Stage) -> float | None:
        """Seconds for the whole reply to ``stage``."""
        match stage:
            case Stage.DATA:
                return self.data
            case Stage.FINAL:
                return self.final
            case Stage.RSET:
                return self.reset
            case Stage.QUIT:
                return self.quit
            case _:
                return self.command


#: Sections 4.5.3.2.1 to 4.5.3.2.6; `connect` and `reset` are Postfix's smtp_connect_timeout and smtp_rset_timeout.
RFC_5321 = Timeouts(connect=30, command=300, data=120, block=180, final=600, reset=20, quit=_FAREWELL)
