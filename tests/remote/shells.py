"""Remote shells that reach no further than this machine: they drop the host, as ssh does it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from udpft.remote.commands import ShellOptions

UDPFT = f"{sys.executable} -m udpft"
"""udpft "over there"."""

_AS_SSH = """#!/bin/sh
shift
HOME={home} ; export HOME
cd "$HOME"
exec sh -c "$*"
"""

_AS_EXEC = """#!/bin/sh
shift
[ "$1" = -- ] && shift
HOME={home} ; export HOME
exec "$@"
"""


def script(path: Path, text: str) -> Path:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def as_ssh(path: Path, home: Path) -> Path:
    """Make a shell that joins the words of the command, and has a shell run them in a home."""
    return script(path, _AS_SSH.format(home=shlex.quote(str(home))))


def as_exec(path: Path, home: Path) -> Path:
    """Make a shell that runs the words of the command as they are."""
    return script(path, _AS_EXEC.format(home=shlex.quote(str(home))))


def options_of(rsh: Path) -> ShellOptions:
    """Options of a session through such a shell."""
    return ShellOptions(shlex.quote(str(rsh)), UDPFT)


def far_ends(home: Path) -> list[int]:
    """Processes of far ends whose home this is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--for-shell" in words and os.fsencode(f"HOME={home}") in environment:
            found.append(int(entry.name))
    return found
