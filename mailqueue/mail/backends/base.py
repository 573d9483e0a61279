"""What all mail backends have in common, and what one of your own inherits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from mailqueue.errors import InvalidMailer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

__all__ = ["BaseEmailBackend"]


class BaseEmailBackend:
    """A way out for messages. A subclass defines ``send_messages()``, and ``open()``/``close()`` if it has a link.

    ``with backend:`` opens and closes it. ``alias`` is the alias of MAILERS that it was built for, or None; a backend
    with an alias goes by its OPTIONS alone, and raises InvalidMailer for those that it does not know.
    """

    #: Whether ``send_messages()`` makes do with an iterator: no ``len()``, no truth test, one pass.
    takes_iterators: bool = False

    def __init__(
        self,
        fail_silently: bool = False,
        alias: str | None = None,
        _ignore_unknown_kwargs: Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        self.fail_silently = fail_silently
        self.alias = alias
        unknown = kwargs.keys() - set(_ignore_unknown_kwargs)
        if alias is not None and unknown:
            raise self.invalid_mailer(f"Unknown options {', '.join(map(repr, sorted(unknown)))}.")

    def invalid_mailer(self, sentence: str) -> InvalidMailer:
        """The error to raise for options of the entry of MAILERS that this backend was built for."""
        return InvalidMailer(f"MAILERS[{self.alias!r}]: {sentence}")

    def open(self) -> bool | None:
        """Open the link, for a number of calls of ``send_messages()``. True if that was needed.

        A backend without a link does nothing.
        """
        return None

    def close(self) -> None:
        """Close the link, if there is one."""

    def __enter__(self) -> Self:
        try:
            self.open()
        except Exception:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def send_messages(self, email_messages: Iterable[Any]) -> int | None:
        """Send the messages; how many were sent."""
        raise NotImplementedError("subclasses of BaseEmailBackend must override send_messages() method")
