"""Folders below a folder, by the components of their paths, and through no symlink."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Opens them one in the other, each relative to the one before.

    The way to the last one stays open: asked for in order, a tree's folders cost one call each,
    however deep they are.

    Args:
        top_fd: the folder, which is not closed.
    """

    def __init__(self, top_fd: int) -> None:
        self._top_fd = top_fd
        self._way: list[tuple[str, int]] = []

    def open(self, components: Sequence[str], *, make: bool = False) -> int:
        """The descriptor of a folder, valid until the next call.

        Args:
            components: of its path; none for the top.
            make: make it where it is missing, and what leads to it.

        Raises:
            OSError: it is missing, or something else is there; a symlink is no folder.
        """
        depth = 0
        for (known, _), component in zip(self._way, components, strict=False):
            if known != component:
                break
            depth += 1
        self._close_from(depth)
        for component in components[depth:]:
            fd = self._way[-1][1] if self._way else self._top_fd
            if make:
                with suppress(FileExistsError):
                    os.mkdir(component, dir_fd=fd)
            self._way.append((component, os.open(component, _FLAGS, dir_fd=fd)))
        return self._way[-1][1] if self._way else self._top_fd

    def _close_from(self, depth: int) -> None:
        while len(self._way) > depth:
            os.close(self._way.pop()[1])

    def close(self) -> None:
        """Close all but the top."""
        self._close_from(0)
