"""Folders below a folder, opened by the components of their paths and through no symlink."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from errno import EBUSY, ENOTEMPTY
from time import sleep
from typing import Final

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_UNLINKED: Final = (".fuse_hidden", ".nfs")
"""Beginnings of the names that file systems give to files that are removed while they are open."""

_REMOVALS: Final = 20
_REMOVAL_INTERVAL_S: Final = 0.01


def remove_folder(name: str, above_fd: int) -> None:
    """Remove an empty folder. Raises OSError: it is not empty, or gone.

    File systems in user space, and NFS, give a file that is removed while it is open another name,
    in the same folder, and hear some moments later that it was closed. So whoever removes a folder
    closes the files in it first; and such names are waited for.
    """
    for left in reversed(range(_REMOVALS)):
        try:
            os.rmdir(name, dir_fd=above_fd)
            return
        except OSError as error:
            if error.errno not in (ENOTEMPTY, EBUSY) or not left:
                raise
            if not _has_only_unlinked(name, above_fd):
                raise
        sleep(_REMOVAL_INTERVAL_S)


def _has_only_unlinked(name: str, above_fd: int) -> bool:
    fd = os.open(name, FOLDER_FLAGS, dir_fd=above_fd)
    try:
        return all(one.startswith(_UNLINKED) for one in os.listdir(fd))
    finally:
        os.close(fd)


class Folders:
    """Folders of one tree, each opened relative to the one that it is in.

    The path to the last one stays open: asked for in order, a tree's folders cost one call each,
    however deep they are.

    Args:
        top_fd: the folder at the top, which is not closed.

    Attributes:
        _path: components of the path of the folder opened last, each with its descriptor. Each
            `open` closes those that its own path does not share.
        _last: components that were opened last, where they cannot change; None else.
    """

    def __init__(self, top_fd: int) -> None:
        self._top_fd = top_fd
        self._path: list[tuple[str, int]] = []
        self._last: tuple[str, ...] | None = None

    def open(self, components: Sequence[str], *, make: bool = False) -> int:
        """Open a folder; the descriptor is valid until the next call.

        Args:
            components: of its path; none for the top.
            make: make it where it is missing, and what leads to it.

        Raises:
            OSError: it is missing, or something else has its name; a symlink is no folder.
        """
        if components == self._last:
            return self._path[-1][1] if self._path else self._top_fd
        self._last = None
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
        self._last = components if isinstance(components, tuple) else None
        return self._path[-1][1] if self._path else self._top_fd

    def _close_from(self, depth: int) -> None:
        while len(self._path) > depth:
            os.close(self._path.pop()[1])

    def close(self) -> None:
        """Close all but the top."""
        self._last = None
        self._close_from(0)
