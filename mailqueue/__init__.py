"""A durable background task queue for outgoing mail: Django's mail API, Celery workers, an outcome per recipient."""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
