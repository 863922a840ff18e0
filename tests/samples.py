"""Sample files for tests on real sockets: the sizes at which something changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

LARGE = 5 * 2**20 + 3
SIZES = (0, 1, 2047, 2048, 2049, 4096, LARGE)

PATIENCE_S = 20.0
"""Seconds that only a failing test waits."""

_ATTEMPTS = 5


@cache
def sample(size: int) -> bytes:
    """A file's content: no two chunks of it are alike."""
    return Random(size).randbytes(size)


def unless_lost(fetch: Callable[[], bytes], size: int) -> bytes:
    """What a plain transfer brought, the first time that nothing of it was lost.

    Plain does not send again what a busy machine drops: the file is then shorter.
    """
    for _ in range(_ATTEMPTS):
        content = fetch()
        if len(content) == size:
            break
    return content
