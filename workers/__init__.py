"""The Celery side of mailqueue: ``celery -A workers worker`` delivers what was enqueued.

A project that runs workers of its own lets them carry the mail with ``workers.install(app)``.
"""

from workers.app import app, install

__all__ = ["app", "install"]
