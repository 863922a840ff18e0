"""Comparison of a file's SHA-256 with an expected one.

A module of its own, for it loads OpenSSL, and few transfers want it.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Final

from udpft.errors import DigestMismatch, LocalReadFailed

_STEP: Final = 1 << 20
"""Bytes read in one go."""


def check_sha256(fd: int, size: int, expected: str) -> None:
    """Compare the SHA-256, in hex, of a file's first ``size`` bytes with the one expected.

    Raises:
        DigestMismatch: it is another one.
        LocalReadFailed: it cannot be read.
    """
    digest = sha256()
    try:
        for at in range(0, size, _STEP):
            digest.update(os.pread(fd, min(_STEP, size - at), at))
    except OSError as error:
        raise LocalReadFailed(f"cannot read the file that is here: {error.strerror}") from error
    if digest.hexdigest() != expected.lower():
        raise DigestMismatch(
            f"the file's SHA-256 is {digest.hexdigest()}, and not the one that you expect",
            hint="the server has another file than you think, or --sha256 has a typing error",
        )
