"""The backend for development that writes messages to files."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured
from mailqueue.mail.backends.console import SEPARATOR
from mailqueue.mail.backends.console import EmailBackend as ConsoleEmailBackend

__all__ = ["EmailBackend"]

_numbers = itertools.count(1)


class EmailBackend(ConsoleEmailBackend):
    """Writes messages into one file of its own in the directory ``file_path``, by default EMAIL_FILE_PATH.

    The file is made when the first message is written, and appended to from then on. Raises ImproperlyConfigured
    for a directory that is not named, cannot be made or cannot be written to.
    """

    def __init__(self, *args: Any, file_path: Any = None, **kwargs: Any) -> None:
        self._fname: str | None = None
        kwargs["stream"] = None  # not standard output: open() makes the file
        super().__init__(*args, **kwargs)
        if file_path is None:
            if self.alias is not None:
                raise self.invalid_mailer("OPTIONS must define 'file_path'.")
            file_path = conf.get("EMAIL_FILE_PATH")
        if file_path is None:
            raise ImproperlyConfigured("EMAIL_FILE_PATH is not set; the file backend needs to know its directory")
        self.file_path: Any = os.path.abspath(file_path)  # noqa: PTH100 - text, as in Django
        self._make_directory()

    def write_message(self, message: Any) -> None:
        """Write one message and the line that ends it."""
        self.stream.write(message.message().as_bytes() + f"\n{SEPARATOR}\n".encode())

    def open(self) -> bool:
        """Open the file. True if that was needed."""
        if self.stream is not None:
            return False
        self.stream = open(self._get_filename(), "ab")  # noqa: PTH123, SIM115 - closed by close()
        return True

    def close(self) -> None:
        """Close the file; the next message opens it again."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def _get_filename(self) -> str:
        """The path of this instance's file: by time, process and instance, so that no two share one."""
        if self._fname is None:
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_numbers)}.log"
            self._fname = os.path.join(self.file_path, name)  # noqa: PTH118 - text, as in Django
        return self._fname

    def _make_directory(self) -> None:
        path = self.file_path
        try:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103 - text, as in Django
        except FileExistsError as error:
            raise ImproperlyConfigured(
                f"Path for saving email messages exists, but is not a directory: {path}"
            ) from error
        except OSError as error:
            raise ImproperlyConfigured(
                f"Could not create directory for saving email messages: {path} ({error})"
            ) from error
        if not os.access(path, os.W_OK):
            raise ImproperlyConfigured(f"Could not write to directory: {path}")
