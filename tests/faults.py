"""Faulty disks, as real as they can be without one that fails."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def failing_below(call: str, folder: Path) -> Callable[..., int]:
    """A call of `os` that fails for the files in a folder, as on a broken disk."""
    real = getattr(os, call)

    def fail_or_not(fd: int, *arguments: Any) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done: int = real(fd, *arguments)
        return done

    return fail_or_not


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size; Python ignores the SIGXFSZ that comes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
