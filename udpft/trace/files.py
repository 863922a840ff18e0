"""Files of a trace, each bounded: what passes the limit is not written, and the file says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from udpft.errors import LocalWriteFailed
from udpft.units import format_bytes, format_seconds


class TraceFile:
    """File of a trace, open for writing.

    Args:
        path: the file.
        limit: bytes that it may have.
        on_full: told once, in words, that it is full.
        stream: written in place of the file, for what becomes of it later.

    Attributes:
        path: of the file.
        full: whether nothing more is written.

    Raises:
        LocalWriteFailed: it cannot be made.
    """

    def __init__(
        self,
        path: str,
        limit: int,
        on_full: Callable[[str], None],
        stream: IO[bytes] | None = None,
    ) -> None:
        self.path = path
        self.full = False
        self._limit = limit
        self._on_full = on_full
        self._size = 0
        """Bytes written so far."""
        try:
            self._file = stream or open(path, "wb", 1 << 16)  # noqa: SIM115
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, record: bytes, at_s: float = 0.0) -> bool:
        """Write a record, made at seconds since the trace began; return whether it had room.

        The first that has none is the last that is tried.

        Raises:
            LocalWriteFailed: the file cannot be written.
        """
        if self.full:
            return False
        if self._size + len(record) > self._limit:
            self.full = True
            self._on_full(
                f"{self.path}: the trace stopped at {format_bytes(self._limit)}, "
                f"{format_seconds(at_s)} after it began; --trace-limit sets where"
            )
            return False
        self._put(record)
        return True

    def write_last(self, record: bytes) -> None:
        """Write a record that has room in any case: the last word of a file that is full."""
        self._put(record)

    def flush(self) -> None:
        """Write what is in the buffer. Raises as `write` does."""
        try:
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file. Raises as `write` does."""
        try:
            self._file.close()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _put(self, record: bytes) -> None:
        try:
            self._file.write(record)
        except OSError as error:
            self.full = True
            raise cannot_write(self.path, error) from error
        self._size += len(record)


def cannot_write(path: str, error: OSError) -> LocalWriteFailed:
    """The error that a trace cannot be written."""
    return LocalWriteFailed(f"cannot write the trace {os.fspath(path)}: {error.strerror}")
