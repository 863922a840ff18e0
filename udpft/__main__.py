"""``udpft`` and ``python -m udpft``."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    gc.disable()  # until the command is imported: that takes its time, and leaves no garbage
    try:
        from udpft.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was there to catch it
        print("udpft: interrupted", file=sys.stderr)
        code = 130
    # Everything is closed and flushed, and the interpreter would take 15 ms to take itself apart.
    os._exit(code)


if __name__ == "__main__":
    main()
