"""Where a server puts what clients bring: beneath its folder, and nowhere else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from udpft.destination import Destination
from udpft.errors import Denied, DestinationExists, LocalWriteFailed, NoSuchFile, UdpftError
from udpft.protocol.download import Opened
from udpft.protocol.handshake import Introduction
from udpft.protocol.packets import FORCE, Hello
from udpft.storage.claim import is_part_name
from udpft.storage.root import Root


class Uploads:
    """Opens places for uploads.

    Args:
        root: the served folder.
        max_bytes: of one upload; 0 for as many as the disk holds.
        quota_bytes: of all uploads since the server began; 0 for no quota.
    """

    def __init__(self, root: Root, *, max_bytes: int = 0, quota_bytes: int = 0) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._quota_bytes = quota_bytes
        self._stored_bytes = 0

    def open(self, hello: Hello, name: str) -> UploadPlace:
        """Open the place that a HELLO asks for under a name, both from the network.

        Raises:
            Denied: it is over the quota, or no name for an upload.
            DestinationExists: a different file has that name, and no force.
            LocalWriteFailed: the disk refuses.
        """
        if self._max_bytes and hello.size > self._max_bytes:
            raise Denied(f"the server takes uploads of up to {self._max_bytes} bytes")
        if self._quota_bytes and self._stored_bytes + hello.size > self._quota_bytes:
            raise Denied("the server's quota for uploads is used up")
        if is_part_name(os.fsencode(name.rpartition("/")[2])):
            raise Denied("no name for an upload")
        try:
            folder_fd, last = self._root.make_parent(name)
        except NoSuchFile:
            raise Denied("no name for an upload, or a way to it that is none") from None
        except OSError as error:
            raise _for_strangers(error) from error
        try:
            return UploadPlace(self, hello, folder_fd, last)
        except BaseException:
            os.close(folder_fd)
            raise

    def note_stored(self, size: int) -> None:
        """Count an upload that was stored."""
        self._stored_bytes += size


class UploadPlace:
    """The place of one upload; an `intake.Place`. Takes the folder's descriptor over."""

    def __init__(self, uploads: Uploads, hello: Hello, folder_fd: int, name: str) -> None:
        self.size = hello.size
        self.mtime_ns = hello.mtime_ns
        self.identity = hello.identity
        self._uploads = uploads
        self._name = name
        try:
            # By the descriptor, so that whatever is moved or linked meanwhile, it is this folder.
            self._target = Destination(
                Path(f"/proc/self/fd/{folder_fd}", name),
                force=bool(hello.flags & FORCE),
                follow=False,
            )
        except UdpftError as error:
            raise self._told(error) from error
        self._folder_fd = folder_fd

    @property
    def have(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges of the file that are here."""
        target = self._target
        return target.have if target.have_of in (0, self.identity) else ()

    def open_sink(self, introduction: Introduction) -> Opened:
        """Open the part file; see `Destination.open_sink`."""
        try:
            return self._target.open_sink(introduction)
        except UdpftError as error:
            raise self._told(error) from error

    def commit(self) -> None:
        """Give the file its name; see `Destination.commit`."""
        try:
            self._target.commit()
        except UdpftError as error:
            raise self._told(error) from error
        self._uploads.note_stored(self.size)

    def close(self, error: BaseException | None = None) -> None:
        """Keep what can be gone on with, or remove it."""
        self._target.close(error)
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    def is_different(self) -> DestinationExists:
        """The error that the file that is here is another one."""
        return DestinationExists(
            f"{self._name!r} is on the server, and is a different file",
            hint="--force replaces it; --as gives it another name",
        )

    @property
    def compares(self) -> bool:
        """Whether this only finds out if the file that is here is the client's."""
        return self._target.compares

    def _told(self, error: UdpftError) -> UdpftError:
        """An error as a stranger may read it: without the server's paths."""
        if isinstance(error, DestinationExists):
            return self.is_different()
        return _for_strangers(error)


def _for_strangers(error: BaseException) -> LocalWriteFailed:
    cause = error if isinstance(error, OSError) else error.__cause__
    code = cause.errno if isinstance(cause, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT) or "disk full" in str(error):
        return LocalWriteFailed("the server's disk is full")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LocalWriteFailed("the server may not write there")
    return LocalWriteFailed("the server cannot write the file")
