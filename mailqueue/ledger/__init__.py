"""The ledger: the durable record of every message's state."""
