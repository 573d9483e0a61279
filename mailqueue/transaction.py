"""Mail that waits for the commit of the Django transaction it was sent in, where there is one.

Without Django, outside of a transaction, and with MAILQUEUE_ON_COMMIT off, nothing waits.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mailqueue import conf

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["on_commit"]


def on_commit(act: Callable[[], None]) -> bool:
    """Call ``act`` when the open transaction of the default database commits; False, and no call, if none is open.

    A rollback forgets it. ``act`` must not raise: the commit has happened by then.
    """
    # Not imported here: where nobody has imported it, there is no transaction.
    transaction: Any = sys.modules.get("django.db.transaction")
    if transaction is None or not sys.modules["django.conf"].settings.configured or not conf.get("MAILQUEUE_ON_COMMIT"):
        return False
    connection = transaction.get_connection()
    # Asked first: outside of a transaction, and without autocommit, on_commit() raises.
    if not connection.in_atomic_block:
        return False
    connection.on_commit(act, robust=True)
    return True
