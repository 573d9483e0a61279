"""Bulk mail: campaigns of a template and its recipients, personalised, scheduled, paused and resumed, and accounted for.

The public API. What is named here is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mailqueue.bulk.campaign import Campaign
    from mailqueue.bulk.control import (
        campaigns,
        cancel,
        export,
        export_csv,
        pause,
        resume,
        retry,
        status,
        wait,
    )
    from mailqueue.bulk.loading import Loaded
    from mailqueue.bulk.recurring import Schedule, schedule, schedules, unschedule
    from mailqueue.bulk.report import CampaignStatus, RecipientRow
    from mailqueue.bulk.sending import send
    from mailqueue.bulk.template import Template
    from mailqueue.ledger.campaigns import CampaignState

__all__ = [
    "Campaign",
    "CampaignState",
    "CampaignStatus",
    "Loaded",
    "RecipientRow",
    "Schedule",
    "Template",
    "campaigns",
    "cancel",
    "export",
    "export_csv",
    "pause",
    "resume",
    "retry",
    "schedule",
    "schedules",
    "send",
    "status",
    "unschedule",
    "wait",
]

_LAZY: Final = {
    "Campaign": "mailqueue.bulk.campaign",
    "CampaignState": "mailqueue.ledger.campaigns",
    "CampaignStatus": "mailqueue.bulk.report",
    "Loaded": "mailqueue.bulk.loading",
    "RecipientRow": "mailqueue.bulk.report",
    "Template": "mailqueue.bulk.template",
    **dict.fromkeys(
        ("campaigns", "cancel", "export", "export_csv", "pause", "resume", "retry", "status", "wait"),
        "mailqueue.bulk.control",
    ),
    **dict.fromkeys(("Schedule", "schedule", "schedules", "unschedule"), "mailqueue.bulk.recurring"),
    "send": "mailqueue.bulk.sending",
}


if not TYPE_CHECKING:  # a checker would take every misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
