"""``udpft`` and ``python -m udpft``."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    _insist_on_utf8()
    gc.disable()  # until the command is imported: that takes its time, and leaves no garbage
    try:
        from udpft.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was there to catch it
        print("udpft: interrupted", file=sys.stderr)
        code = 130
    # Everything is closed and flushed, and the interpreter would take 15 ms to take itself apart.
    os._exit(code)


def _insist_on_utf8() -> None:
    """Begin again in UTF-8 mode, where the locale has another encoding.

    Names of files are bytes, and travel as the bytes that they are. Only in UTF-8 mode the text
    that Python makes of them is the same on both machines, whatever the locales are.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
