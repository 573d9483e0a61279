"""The mail backends: each module has an ``EmailBackend``, loaded by its dotted path."""
