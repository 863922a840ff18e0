"""Rename that replaces nothing: renameat2(2) with RENAME_NOREPLACE, or what comes closest to it.

NFS and some FUSE file systems refuse the flag. There a file gets a second name (link(2) replaces
nothing either) and loses the first; and where a file system has no links, and for a folder, the
name is looked at before, which leaves a moment in which something may appear.

A single file takes the way of the second name first: loading ctypes, which renameat2 needs, is a
fifteenth of a short get's time. Who is killed between the two leaves a part file with two names,
which the next transfer does not write to (`storage/claim.py`).
"""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Any, Final

_RENAME_NOREPLACE: Final = 0x01

_NOT_TAKEN: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)
"""Errors of a file system, a kernel or a seccomp filter that lacks the call or the flag. A
folder that refuses for its permissions refuses the other ways too."""

_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
"""Errors of link(2) on a file system that has no links, or for a folder."""


def rename_new_file(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename a file as `rename_new` does, but without ctypes where the file system has links.

    Raises:
        FileExistsError: something has the name, and keeps it; the source is where it was.
        OSError: as link(2), unlink(2) and rename(2) do.
    """
    if not _link_and_unlink(src, dst, src_dir_fd, dst_dir_fd):
        rename_new(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def rename_new(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename a file or folder to a name that nothing has yet; names are relative to folders.

    Raises:
        FileExistsError: something has the name, and keeps it; the source is where it was.
        OSError: as rename(2) does.
    """
    code = _renameat2(src_dir_fd, os.fsencode(src), dst_dir_fd, os.fsencode(dst))
    if code in _NOT_TAKEN:
        if not _link_and_unlink(src, dst, src_dir_fd, dst_dir_fd):
            _look_and_rename(src, dst, src_dir_fd, dst_dir_fd)
    elif code:
        raise OSError(code, os.strerror(code), dst)


def _renameat2(src_dir_fd: int, src: bytes, dst_dir_fd: int, dst: bytes) -> int:
    """Call renameat2(2); return 0 or the number of the error."""
    import ctypes

    call = _libc_renameat2()
    if not call:
        return errno.ENOSYS
    if not call(src_dir_fd, src, dst_dir_fd, dst, _RENAME_NOREPLACE):
        return 0
    return ctypes.get_errno()


@cache
def _libc_renameat2() -> Any:
    """Find the C library's function: glibc has it from 2.28 on, others may lack it."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call:
        number, text = ctypes.c_int, ctypes.c_char_p
        call.argtypes = (number, text, number, text, ctypes.c_uint)
    return call


def _link_and_unlink(src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> bool:
    """Give a file a second name, and take the first; return False where there are no links."""
    try:
        os.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    os.unlink(src, dir_fd=src_dir_fd)
    return True


def _look_and_rename(src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> None:
    try:
        os.lstat(dst, dir_fd=dst_dir_fd)
    except FileNotFoundError:
        os.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst)
