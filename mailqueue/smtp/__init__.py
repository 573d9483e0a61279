"""SMTP beneath the mail backend: replies, what they mean, and the transaction loop."""
