"""Folders below a folder, opened by the components of their paths and through no symlink."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Folders of one tree, each opened relative to the one that it is in.

    The path to the last one stays open: asked for in order, a tree's folders cost one call each,
    however deep they are.

    Args:
        top_fd: the folder at the top, which is not closed.

    Attributes:
        _path: components of the path of the folder opened last, each with its descriptor. Each
            `open` closes those that its own path does not share.
    """

    def __init__(self, top_fd: int) -> None:
        self._top_fd = top_fd
        self._path: list[tuple[str, int]] = []

    def open(self, components: Sequence[str], *, make: bool = False) -> int:
        """Open a folder; the descriptor is valid until the next call.

        Args:
            components: of its path; none for the top.
            make: make it where it is missing, and what leads to it.

        Raises:
            OSError: it is missing, or something else has its name; a symlink is no folder.
        """
        depth = 0
        for (known, _), component in zip(self._path, components, strict=False):
            if known != component:
                break
            depth += 1
        self._close_from(depth)
        for component in components[depth:]:
            fd = self._path[-1][1] if self._path else self._top_fd
            if make:
                with suppress(FileExistsError):
                    os.mkdir(component, dir_fd=fd)
            self._path.append((component, os.open(component, FOLDER_FLAGS, dir_fd=fd)))
        return self._path[-1][1] if self._path else self._top_fd

    def _close_from(self, depth: int) -> None:
        while len(self._path) > depth:
            os.close(self._path.pop()[1])

    def close(self) -> None:
        """Close all but the top."""
        self._close_from(0)
