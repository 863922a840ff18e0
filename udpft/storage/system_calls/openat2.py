"""System call openat2(2): opens a path that the kernel itself keeps beneath a folder.

Neither Python nor glibc before 2.43 has a function for it, so it is called by number through
ctypes. Linux 5.6 and later; where it is missing or forbidden, `udpft.storage.served_folder` walks.
"""

from __future__ import annotations

import ctypes
import errno
import os
from struct import Struct
from typing import Final

_OPENAT2: Final = 437
"""The call's number, the same on every architecture but Alpha (linux/syscalls, 5.6)."""

NO_CROSSING: Final = 0x01
"""RESOLVE_NO_XDEV: a path that crosses into another mount fails with EXDEV."""

_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08

# struct open_how of linux/openat2.h: flags u64, mode u64, resolve u64
_OPEN_HOW: Final = Struct("=QQQ")

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
)


def openat2(folder_fd: int, path: bytes, flags: int, resolve: int = 0) -> int:
    """Open ``path`` beneath a folder, on no way through a symlink; return the descriptor.

    ``resolve``: further limits on the way, `NO_CROSSING` for one.

    Raises:
        OSError: as open(2) does; ELOOP where there is a symlink on the way, EXDEV where the path
            leads out of the folder, ENOSYS where the kernel lacks the call, EPERM where a seccomp
            filter older than the call refuses it (libseccomp before 2.5, as in older Docker).
    """
    resolve |= _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = _OPEN_HOW.pack(flags, 0, resolve)
    while True:
        fd: int = _syscall(_OPENAT2, folder_fd, path, how, len(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
