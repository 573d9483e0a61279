"""The catalogue of badly behaved relays: each a script, and what the ledger must say of the mail it was given.

``with CATALOGUE["greylists"].server() as relay:`` is such a relay, for tests of your own; those with TLS want an
``Authority`` (and ``mailqueue[testing]``). ``python -m mailqueue.testing.catalogue`` prints the table in docs/reliability.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mailqueue.testing.catalogue.after import AFTER
from mailqueue.testing.catalogue.before import BEFORE
from mailqueue.testing.catalogue.window import WINDOW
from mailqueue.testing.catalogue.within import WITHIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.testing.case import Case

__all__ = ["CATALOGUE", "table"]

#: All cases by their names, in the order of the conversation.
CATALOGUE: Final[Mapping[str, Case]] = MappingProxyType(
    {case.name: case for case in (*BEFORE, *WITHIN, *AFTER, *WINDOW)}
)


def table() -> str:
    """The catalogue as a table in Markdown."""
    head = "| script | the relay | the ledger, after the first attempt | when the relay has recovered |"
    return "\n".join((head, "|---|---|---|---|", *(case.row() for case in CATALOGUE.values()), ""))
