"""What is measured, against whom: ``python -m benchmarks`` (``make bench``) runs all of it.

Needs ``mailqueue[embedded]``; no part of the package. docs/performance.md has the results and says how to read them.
"""
