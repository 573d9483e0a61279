"""What all messages of a campaign have in common, as the ledger keeps it: the template and the options."""

from __future__ import annotations

import re
import secrets
import time
from contextlib import suppress
from typing import Any, Final

import msgspec

from mailqueue import conf
from mailqueue.bulk.template import Template  # noqa: TC001 - msgspec looks up the types of fields
from mailqueue.envelope import OnUnknown  # noqa: TC001 - likewise
from mailqueue.errors import InvalidMessage, WireError
from mailqueue.mail.utils import punycode

__all__ = [
    "CampaignSpec",
    "Options",
    "check_id",
    "check_path",
    "decode_options",
    "decode_spec",
    "encode_spec",
    "host_of",
    "made_id",
]

_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_AT_HOST: Final = re.compile(r"@([^\s@<>]+)>?\s*\Z")
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.ASCII)


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=1):
    """The options of a campaign, as far as its messages are concerned. Its lane and its times are the ledger's."""

    list: str = ""  # the list of the suppressions, and of List-Id
    relays: dict[str, float] = {}  # weights of aliases; {} is the default way out
    quiet: str = ""  # quiet hours, as they are written
    on_unknown: OnUnknown = "hold"
    unsubscribe: bool = True
    feedback_id: str = ""
    on_finish: str = ""  # the dotted path of what is called at the end
    host: str = "localhost"  # what Message-IDs end with


class CampaignSpec(Options, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=1):
    """The options with the template, whose large attachments are blobs of the ledger."""

    template: Template

    def blobs(self) -> tuple[str, ...]:
        """The content hashes of the large parts that it refers to, each once."""
        return tuple(sorted(self.template.blobs()))


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_spec_decoder: Final = msgspec.json.Decoder(CampaignSpec)
_options_decoder: Final = msgspec.json.Decoder(Options)


def encode_spec(spec: CampaignSpec) -> bytes:
    """``spec`` as JSON: the same octets for the same content, by which campaigns of one id are compared."""
    return _encoder.encode(spec)


def decode_spec(content: bytes) -> CampaignSpec:
    """The spec of a campaign; raises WireError if it is none that this release can read."""
    return _decoded(_spec_decoder, content)  # type: ignore[no-any-return]


def decode_options(content: bytes) -> Options:
    """The options alone: who feeds a campaign needs no template, nor what it takes to read one."""
    return _decoded(_options_decoder, content)  # type: ignore[no-any-return]


def _decoded(decoder: Any, content: bytes) -> Any:
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        raise WireError(f"no campaign that this release can read: {trouble}") from trouble


def check_id(campaign: str) -> str:
    """Return ``campaign``; raise InvalidMessage if it cannot be the id of one."""
    if not isinstance(campaign, str) or not _ID.fullmatch(campaign) or ".." in campaign:
        raise InvalidMessage(
            f"{campaign!r} cannot be the id of a campaign: up to 40 of a-z, 0-9, '.', '_' and '-', the first a letter or "
            "digit, no two dots in a row"
        )
    return campaign


def check_path(path: str) -> str:
    """Return ``path``; raise InvalidMessage if it cannot lead to a function."""
    if not _PATH.fullmatch(path):
        raise InvalidMessage(f"on_finish: {path!r} is no dotted path: write 'package.module.function'")
    return path


def made_id(now: float | None = None) -> str:
    """A new id for a campaign whose caller has none for it: the time, in UTC, and six random digits."""
    return f"{time.strftime('%y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"


def host_of(sender: str) -> str:
    """What the Message-IDs of mail from ``sender`` end with: its domain, or that of DEFAULT_FROM_EMAIL.

    Not the name of this host: wherever a recipient is fed from, the Message-ID is to be the same.
    """
    for address in (sender, conf.get("DEFAULT_FROM_EMAIL")):
        if found := _AT_HOST.search(address or ""):
            with suppress(UnicodeError):  # a template, or no domain
                if _HOST.fullmatch(host := punycode(found[1]).lower()):
                    return host
    return "localhost"
