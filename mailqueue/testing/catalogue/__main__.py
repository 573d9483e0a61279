"""Prints the catalogue as the table in docs/reliability.md."""

from __future__ import annotations

import sys

from mailqueue.testing.catalogue import table

if __name__ == "__main__":
    sys.stdout.write(table())
