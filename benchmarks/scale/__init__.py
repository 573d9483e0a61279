"""How it behaves when there is much of it: deep queues, many processes, busy workers, and what a message occupies."""
