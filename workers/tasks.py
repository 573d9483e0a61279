"""The task that carries messages. Called by name (``mailqueue.lanes.TASK_NAME``); the work is done in ``drain``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mailqueue.codec import Parcel
from mailqueue.errors import WireError
from workers import process
from workers.drain import drain

if TYPE_CHECKING:
    from celery.app.task import Task

__all__ = ["deliver"]

logger = logging.getLogger(__name__)


def deliver(task: Task, parcel: dict[str, Any]) -> None:
    """Deliver the messages of ``parcel`` (``mailqueue.codec.Parcel`` in its wire form), and what else waits in its lane."""
    try:
        opened = Parcel.from_wire(parcel)
    except WireError as error:
        # Its messages are still queued in the ledger, which will find the task lost and publish them anew.
        logger.error("action=parcel_unreadable reason=%s", error)  # noqa: TRY400 - no traceback wanted
        return
    drain(opened, process.current(task.app))
