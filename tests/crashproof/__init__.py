"""The crash proof: real workers under attack, and afterwards the ledger compared with what the relay has, mail by mail.

``python -m tests.crashproof --help``; ``make crashproof``. Not collected by pytest: ``tests/acceptance`` runs a short one.
"""
