"""``python -m mailqueue``: the command line, where the script is not on the PATH."""

from mailqueue.cli import main

main(prog_name="mailqueue")
