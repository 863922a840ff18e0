"""``udpft`` and ``python -m udpft``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    try:
        from udpft.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was there to catch it
        print("udpft: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
