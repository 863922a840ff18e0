"""Names of part files: ``.NAME.udpft-part``, within the bytes that a file system allows."""

from __future__ import annotations

import os
from typing import Final

_SUFFIX: Final = b".udpft-part"

NAME_MAX: Final = 255
"""Bytes in one component of a path (NAME_MAX of Linux)."""


def part_name(name: str) -> str:
    """Name the part file for a file's name: ``.NAME.udpft-part``.

    Where that passes 255 bytes, the end of NAME gives way to a digest of it all.
    """
    encoded = os.fsencode(name)
    if 1 + len(encoded) + len(_SUFFIX) > NAME_MAX:
        from hashlib import blake2b  # it loads OpenSSL, and few names are so long

        digest = blake2b(encoded, digest_size=8).hexdigest().encode()
        room = NAME_MAX - 2 - len(digest) - len(_SUFFIX)
        # No half characters: some file systems take only UTF-8.
        start = encoded[:room].decode(errors="ignore").encode()
        encoded = start + b"-" + digest
    return os.fsdecode(b"." + encoded + _SUFFIX)


def is_part_name(name: bytes) -> bool:
    """Tell whether a name is a part file's."""
    return name.startswith(b".") and name.endswith(_SUFFIX)
