"""Files of a tree that do not know their size, as those of /proc and /sys: listed as they are read.

They say to be empty, or to have a page. What a tree is made of is decided by its listing, so they
are read when they are listed, and once more when they are sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from udpft.errors import LocalReadFailed, UdpftError
from udpft.protocol.wire.listing import Entry, NotSent, encode_path
from udpft.storage.served_folder import ServedRoot
from udpft.storage.trees.walk import Step, UnsizedEntry, reason_of

_SAID_BYTES: Final = (0, 4096)
"""Sizes that such files say: those of /proc and of most file systems in user space, and of /sys."""


def as_read(root: ServedRoot, steps: Iterable[Step]) -> Iterator[Step]:
    """Walk on: files that do not know their size get that of what is read of them.

    Args:
        root: the folder that is walked.
        steps: of the walk.
    """
    for step in steps:
        if isinstance(step, UnsizedEntry) and step.size in _SAID_BYTES:
            yield _as_read(root, step)
        else:
            yield step


def _as_read(root: ServedRoot, entry: Entry) -> Entry | NotSent:
    try:
        with root.open_at(encode_path(entry.path).split(b"/")) as source:
            if source.size != entry.size:
                return entry._replace(size=source.size, version=source.identity)
    except LocalReadFailed as error:
        return NotSent(entry.path, reason_of(error))
    except UdpftError:  # it is gone, for instance: whoever sends it will say so
        pass
    return entry
