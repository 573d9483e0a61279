"""A ``message.encoding`` that is a Charset object (Django takes one to choose how bodies are encoded), as data."""

from __future__ import annotations

from email.charset import Charset

import msgspec

__all__ = ["CharsetSpec"]


class CharsetSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attributes of a Charset, which are all that there is to one."""

    input_charset: str
    header_encoding: int | None = None
    body_encoding: int | None = None
    output_charset: str | None = None
    input_codec: str | None = None
    output_codec: str | None = None

    @classmethod
    def of(cls, charset: Charset) -> CharsetSpec | None:
        """Return ``charset`` as data; None if it is more than data (a subclass, a function that encodes bodies)."""
        if type(charset) is not Charset:
            return None
        try:
            return msgspec.convert(vars(charset), cls)
        except msgspec.ValidationError:
            return None

    def charset(self) -> Charset:
        """Return the Charset that this was made of."""
        made = Charset.__new__(Charset)  # its constructor would put in the defaults of the global registry
        for name in self.__struct_fields__:
            setattr(made, name, getattr(self, name))
        return made
