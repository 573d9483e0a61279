"""Our own producer. Its settings are in the environment."""

from __future__ import annotations

from benchmarks.peers.produce import api, produce
from mailqueue import mail

if __name__ == "__main__":
    produce(api(mail))
