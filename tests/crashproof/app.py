"""The application of a rig's workers: ours, at the rig's pace, and sabotaged if the environment says so."""

from __future__ import annotations

import os

from tests.crashproof.pace import hasten
from tests.crashproof.sabotage import VARIABLE, sabotage
from workers.app import app

__all__ = ["app"]

hasten()
if name := os.environ.get(VARIABLE):
    sabotage(name)
