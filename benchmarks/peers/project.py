"""The Django project that the peers need, its settings in code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.peers.produce import port

__all__ = ["django"]


def django(**settings: Any) -> None:
    """Set Django up with an SMTP relay, a database, and ``settings``."""
    import django as framework  # noqa: PLC0415 - this module is imported where Django is
    from django.conf import settings as holder  # noqa: PLC0415 - as above

    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(Path(os.environ["BENCH_DIRECTORY"]) / "mail.sqlite3"),
        # What SQLite needs to be fast and yet safe against a crash of the process.
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", "timeout": 20},
    }
    holder.configure(
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port(),
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        SECRET_KEY="no secret",
        LOGGING_CONFIG=None,
        **settings,
    )
    framework.setup()
