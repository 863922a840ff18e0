"""Sample tree of files, and the comparison of its copy."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., None])

A_TIME = 1_234_567_890_123_456_789


def make_tree(served: Path) -> Path:
    """Make a folder with ``tree`` in it: nested and empty folders, odd names, files of all sizes.

    And what should not be transferred: symlinks, a FIFO, something hidden.
    """
    draw = random.Random(7)
    contents = {
        "tree/a/deep/er/file": draw.randbytes(5_000),
        "tree/a/with space.txt": b"x",
        "tree/ünï/文件": draw.randbytes(2048),
        "tree/line\nbreak": b"odd",
        "tree/empty file": b"",
        "tree/large": draw.randbytes(3_000_000),
        "tree/run.sh": b"#!/bin/sh\n",
        "one.txt": b"1",
        "two.txt": b"22",
        "other.bin": b"333",
    }
    contents |= {f"tree/many/{n:03}": draw.randbytes(n * 7) for n in range(300)}
    for name, content in contents.items():
        path = served / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (served / "tree/empty/inner").mkdir(parents=True)
    (served / "tree/run.sh").chmod(0o755)
    (served / "tree/a/with space.txt").chmod(0o600)
    (served.parent / "secret").write_text("not served")
    (served / "tree/leak").symlink_to(served.parent / "secret")
    (served / "tree/way out").symlink_to(served.parent)
    (served / "tree/.hidden").write_text("not shown")
    os.mkfifo(served / "tree/fifo")
    for number, path in enumerate(sorted(served.rglob("*"), reverse=True)):
        if not path.is_symlink():
            os.utime(path, ns=(A_TIME + number, A_TIME + number))
    return served


def seen(folder: Path) -> dict[str, object]:
    """What a tree should keep: contents, times and permissions, of what is served."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or path.is_fifo() or path.name == ".hidden":
            continue
        status = path.stat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (status.st_mtime_ns, status.st_mode, content)
    return found


def row(_title: str) -> Callable[[Test], Test]:
    """Name the row of docs/trees.md that a test is of; another test reads it out of the source."""
    return lambda test: test
