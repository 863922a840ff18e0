"""Where a fetched file goes: a part file, or nowhere because the same file is there already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Self

from udpft.errors import DestinationExists, LocalReadFailed, PartialTransfer
from udpft.protocol.burst import chunk_hashes
from udpft.protocol.download import Opened
from udpft.protocol.handshake import Introduction
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.storage.partfile import PartFile


class Destination:
    """The place of one reliable fetch; a context manager.

    Where a file of that name is here already and may not be replaced, the server is told that we
    have it all. Its digest then shows whether that is so, and nothing else crosses the network.

    Args:
        path: the file's name here.
        force: replace a different file of that name.

    Raises:
        DestinationExists: a file is there that cannot be read, and so not compared.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self._part: PartFile | None = None
        self._existing_fd = -1 if force else _open_existing(path)
        size = os.fstat(self._existing_fd).st_size if self.compares else 0
        self.have: tuple[tuple[int, int], ...] = ((0, size),) if size else ()

    @property
    def compares(self) -> bool:
        """Whether this fetch only finds out if the file that is here is the server's."""
        return self._existing_fd >= 0

    def open_sink(self, introduction: Introduction) -> Opened:
        """Open the part file; or compare, where a file of that name is here already.

        Raises:
            DestinationExists: it is a different one, as its size shows.
            LocalWriteFailed: the part file cannot be made.
        """
        accept = introduction.accept
        if not self.compares:
            self._part = PartFile.open(self.path, accept.size)
            return Opened(self._part)
        if os.fstat(self._existing_fd).st_size != accept.size:
            raise self.is_different()
        return Opened(_Nowhere(), _hash_file(self._existing_fd, accept.size, accept.chunk_size))

    def commit(self) -> None:
        """Give the file, which is verified, its name. Its time is that of its arrival here.

        Raises:
            LocalWriteFailed: see `PartFile.commit`.
        """
        if self._part:
            self._part.commit()

    def is_different(self) -> DestinationExists:
        """The error that the file that is here is not the server's."""
        return DestinationExists(
            f"{self.path} exists and is a different file",
            hint="--force replaces it; --output names another",
        )

    def close(self) -> None:
        """Remove the part file, unless it was committed."""
        if self._part:
            self._part.discard()
        if self.compares:
            fd, self._existing_fd = self._existing_fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Nowhere:
    """A sink for a file that is here already; only its empty last chunk may come."""

    def writev(self, _slots: object, _offset: int, /) -> None:
        """Refuse: nothing was asked for."""
        raise PartialTransfer("the server sent what it was told not to send")


def _open_existing(path: Path) -> int:
    """Open the file that is at a destination; -1 where nothing is there that could be compared.

    What is no regular file, and a folder that cannot be searched, are left to `PartFile`.

    Raises:
        DestinationExists: it cannot be read; or it is a symlink that leads nowhere.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        if os.path.islink(path):
            raise DestinationExists(
                f"{path} is a symlink that leads nowhere", hint="--force replaces it"
            ) from None
        return -1
    if not S_ISREG(status.st_mode):
        return -1
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DestinationExists(
            f"{path} exists and cannot be read to compare it: {error.strerror}",
            hint="--force replaces it",
        ) from None


def _hash_file(fd: int, size: int, chunk_size: int) -> Iterator[tuple[int, bytes]]:
    """The chunk hashes of a local file, some at a time, with the number of each first chunk.

    Raises:
        LocalReadFailed: it cannot be read, or has become shorter.
    """
    count = MAX_BURST_BYTES // chunk_size
    buffer = memoryview(bytearray(count * chunk_size))
    for offset in range(0, size, count * chunk_size):
        length = min(len(buffer), size - offset)
        try:
            got = os.preadv(fd, [buffer[:length]], offset)
        except OSError as error:
            raise LocalReadFailed(f"cannot read the file that is here: {error.strerror}") from error
        if got != length:
            raise LocalReadFailed("the file that is here became shorter while it was compared")
        slots = [buffer[at : min(at + chunk_size, length)] for at in range(0, length, chunk_size)]
        yield offset // chunk_size, chunk_hashes(slots)
