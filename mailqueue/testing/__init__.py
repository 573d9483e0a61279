"""For tests, the demo and development: a store, an SMTP inbox and a worker, all real and all our own.

Import what you need from its file (``store``, ``inbox``, ``worker``); the first two want ``mailqueue[embedded]``.
"""
