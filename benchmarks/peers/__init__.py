"""One small program per system: it enqueues, and where the system has no command for that, it drains.

Each runs in the system's own environment, where nothing of ours but ``benchmarks.letters`` is imported.
"""
