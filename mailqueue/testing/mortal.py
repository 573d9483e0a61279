"""The ledger as a worker sees it that is killed at a certain step: from then on none of its calls is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.ledger.base import Claim, Ledger, Settlement

__all__ = ["Killed", "MortalLedger", "Step"]

#: When a worker is killed: it has claimed the mail; its last byte is about to go out; the relay has answered.
Step: TypeAlias = Literal["claimed", "begun", "answered"]


class Killed(BaseException):
    """The worker is dead. No Exception: nothing may handle it, as nothing handles a ``kill -9``."""


class MortalLedger:
    """``ledger``, until its worker dies at ``step``; whatever is called afterwards raises Killed."""

    def __init__(self, ledger: Ledger, step: Step) -> None:
        self._ledger = ledger
        self._step = step
        self._dead = False

    def __getattr__(self, name: str) -> Any:
        if self._dead:
            raise Killed
        return getattr(self._ledger, name)

    def claim(self, *args: Any, **options: Any) -> Claim:
        """As the port's; the last call if the worker is to die with claims."""
        self._live()
        claim = self._ledger.claim(*args, **options)
        if claim.granted and self._step == "claimed":
            self._die()
        return claim

    def begin(self, ids: Sequence[str], token: str) -> list[bool]:
        """As the port's; the last call if the worker is to die when it sends."""
        self._live()
        ours = self._ledger.begin(ids, token)
        if any(ours) and self._step == "begun":
            self._die()
        return ours

    def record(self, settlements: Sequence[Settlement], token: str) -> list[bool]:
        """As the port's; not made if the worker is to die with an answer in its hand."""
        self._live()
        if self._step == "answered" and any(each.state is not State.SENDING for each in settlements):
            self._die()
        return self._ledger.record(settlements, token)

    def _live(self) -> None:
        if self._dead:
            raise Killed

    def _die(self) -> None:
        self._dead = True
        raise Killed
