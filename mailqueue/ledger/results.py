"""How the results of a message's recipients are written in the ledger.

JSON, so that an operator can read them with the store's own client: ``{"ann@example.com":["a",250,"2.0.0 Ok"]}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REPLY_CHARACTERS", "decode_results", "encode_results"]

#: Characters kept of a reply's text: a line of a reply has at most 512 octets (RFC 5321 section 4.5.3.1.5), and a
#: relay that answers with more must not fill the store.
REPLY_CHARACTERS: Final = 512

_LETTERS: Final = {Verdict.ACCEPTED: "a", Verdict.DEFERRED: "d", Verdict.REFUSED: "r"}
_VERDICTS: Final = {letter: verdict for verdict, letter in _LETTERS.items()}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, tuple[str, int, str]])


def encode_results(results: Mapping[str, Result]) -> bytes:
    """Results by recipient as the ledger keeps them; empty for none."""
    if not results:
        return b""
    plain = {
        recipient: (_LETTERS[result.verdict], result.reply.code, result.reply.text[:REPLY_CHARACTERS])
        for recipient, result in results.items()
    }
    try:
        return _encoder.encode(plain)
    except UnicodeEncodeError:
        # Octets of a reply that are no UTF-8 arrive as lone surrogates, which JSON cannot carry.
        return _encoder.encode(
            {_plain(recipient): (letter, code, _plain(text)) for recipient, (letter, code, text) in plain.items()}
        )


def decode_results(encoded: bytes) -> dict[str, Result]:
    """What ``encode_results`` wrote."""
    if not encoded:
        return {}
    return {
        recipient: Result(_VERDICTS[letter], Reply(code, text))
        for recipient, (letter, code, text) in _decoder.decode(encoded).items()
    }


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
