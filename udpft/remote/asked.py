"""Paths that a session asks for, on the far end's host, and a server of these and no others."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from xxhash import xxh3_64_hexdigest

from udpft.errors import Denied, NoSuchFile, UsageError
from udpft.protocol.contract import OpenedSource
from udpft.protocol.params import WILDCARDS
from udpft.protocol.server.session_creation import Asker
from udpft.protocol.wire.hello import FORCE, RECURSIVE, Hello, Role
from udpft.remote.messages import Found, Kind, PathsAsked, PlaceAsked
from udpft.server.server import Server
from udpft.server.upload_place import UploadPlace
from udpft.storage.served_folder import ServedRoot


def home() -> str:
    """The account's home folder. Of sudo, which may leave the caller's in HOME, the account's own.

    Falls back on the root folder, where an account has none, as in some containers.
    """
    told = None if "SUDO_UID" in os.environ else os.environ.get("HOME")
    try:
        return told or pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def expanded(path: str) -> str:
    """A path from the root on: relative ones are in the home folder, as scp has them."""
    if path == "~" or path.startswith("~/"):
        path = path[2:].lstrip("/")
    return os.path.join(home(), os.path.expanduser(path))


# ------------------------------------------------------------------------------------- downloads


class Offer(NamedTuple):
    """Path that is asked for, as it was found. ``folder``: what it lies in; empty for nothing."""

    folder: str
    found: Found


def offer_of(path: str) -> Offer:
    """Find what a path that is asked for leads to, through symlinks, with the account's rights."""
    full = expanded(path)
    bare = full.rstrip("/") or "/"
    try:
        os.stat(bare)
    except (OSError, ValueError) as error:
        if any(sign in path for sign in WILDCARDS) and not os.path.lexists(bare):
            return _pattern(bare)
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file" if missing else getattr(error, "strerror", "") or str(error)
        return _none(reason, _hint_for(bare) if missing else "")
    if full.endswith("/") and not os.path.isdir(bare):
        return _none("it is no folder")
    folder, name = os.path.split(os.path.realpath(bare))
    if not name:
        return _none("the root folder is not fetched whole", "name the folders in it")
    if os.path.isdir(bare):
        return _found(folder, name, "folder")
    if not os.path.isfile(bare):
        return _none("it is no regular file")
    if not os.access(bare, os.R_OK):
        return _none(os.strerror(errno.EACCES))
    return _found(folder, name, "file")


def _pattern(bare: str) -> Offer:
    """Offer of what matches wildcards: the folder is as far as there are none."""
    components = bare.split("/")
    first = next(i for i, one in enumerate(components) if any(sign in one for sign in WILDCARDS))
    folder = os.path.realpath("/".join(components[:first]) or "/")
    if not os.path.isdir(folder):
        return _none("no such file")
    return _found(folder, "/".join(components[first:]), "pattern")


def _found(folder: str, name: str, kind: Kind) -> Offer:
    return Offer(folder, Found(f"{label_of(folder)}/{name}", kind))


def _none(error: str, hint: str = "") -> Offer:
    return Offer("", Found("", "none", error=error, hint=hint))


def _hint_for(bare: str) -> str:
    folder, name = os.path.split(bare)
    try:
        with ServedRoot(folder, hidden=name.startswith(".")) as root:
            near = root.nearest(name)
    except Exception:
        return ""
    return f"did you mean {near!r}?" if near else ""


def label_of(folder: str) -> str:
    """Name of a folder in requests: the same in each session, so that trees are resumed by it."""
    return xxh3_64_hexdigest(os.fsencode(folder))


class OfferedFolders(ServedRoot):
    """Folders that asked-for paths lie in, each below its label.

    Args:
        folders: their paths; at least one.

    Attributes:
        _by_label: a root for each of them.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        super().__init__(folders[0], hidden=True)
        self._by_label: dict[bytes, ServedRoot] = {}
        try:
            for folder in folders:
                self._by_label[label_of(folder).encode()] = ServedRoot(folder, hidden=True)
        except BaseException:
            self.close()
            raise

    def _open(self, components: Sequence[bytes], flags: int, resolve: int = 0) -> int:
        root = self._by_label.get(components[0])
        if root is None:
            raise NoSuchFile("no such file on the server")
        return root._open(components[1:] or [b"."], flags, resolve)

    def close(self) -> None:
        """Close all of them."""
        super().close()
        for root in self._by_label.values():
            root.close()


# --------------------------------------------------------------------------------------- uploads


class Place(NamedTuple):
    """Place of uploads, as it was found.

    ``folder``: the deepest one on the way that exists. ``names``: of uploads, below it. ``trees``:
    names below which a tree may bring files; an empty one for the folder itself. ``found``: of each
    item, in their order.
    """

    folder: str
    names: frozenset[str]
    trees: frozenset[str]
    found: tuple[Found, ...]


def place_of(asked: PlaceAsked) -> Place:
    """Find the place that items are brought to, as scp and rsync would.

    Into the path, where that is a folder, ends with a slash, or several files or a tree are to go
    there; else the path is the file's name.

    Raises:
        UsageError: standard input would have to be a folder.
    """
    full = os.path.realpath(expanded(asked.path))
    into = os.path.isdir(full) or asked.path.rpartition("/")[2] in ("", ".", "..", "~")
    into = into or len(asked.items) > 1 or any(one.tree for one in asked.items)
    if into and not all(one.name for one in asked.items):
        raise UsageError(
            "standard input has no name, and there is a folder", hint="name a file in it"
        )
    folder, rest = full, ""
    while not os.path.isdir(folder):
        folder, _, last = folder.rpartition("/")
        folder, rest = folder or "/", f"{last}/{rest}"
    below = rest.rstrip("/")
    names, trees, found = set(), set(), []
    for item in asked.items:
        name = f"{rest}{item.name}" if into and not item.contents else below
        names.add(name or item.name)
        if item.tree:
            trees.add(name)
        path = asked.path
        if into and not item.contents:
            path += f"{'/' if path and not path.endswith('/') else ''}{item.name}"
        found.append(Found(name, "folder" if item.tree else "file", path))
    return Place(folder, frozenset(names), frozenset(trees), tuple(found))


class AskedPlace(ServedRoot):
    """Folder that takes what was asked for, and no other name.

    Args:
        place: see there.

    Attributes:
        _place: as ``place``; never changes.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(place.folder, hidden=True)
        self._place = place

    def takes(self, name: str) -> bool:
        """Tell whether an upload may have a name."""
        return name in self._place.names or any(
            not top or name == top or name.startswith(f"{top}/") for top in self._place.trees
        )


# ---------------------------------------------------------------------------------------- server


class AskedServer(Server):
    """Server of what a session asks for, and of nothing else.

    Args:
        root: the folders that it is in, or the place that it goes to.
        names: by which it is asked for, or brought.
        asked: the request.
        options: see `Server`.

    Attributes:
        _names: as ``names``; never changes.
        _asked: as ``asked``; never changes.
    """

    def __init__(
        self,
        root: ServedRoot,
        names: Collection[str],
        asked: PathsAsked | PlaceAsked,
        **options: Any,
    ) -> None:
        self._names = frozenset(names)
        self._asked = asked
        super().__init__(root, writable=isinstance(asked, PlaceAsked), **options)

    def _open_source(self, hello: Hello, name: str, asker: Asker) -> OpenedSource:
        of_put = isinstance(self._asked, PlaceAsked)
        # A put looks at what is there, and hears what was refused.
        deep = hello.role == Role.LIST if of_put else self._asked_deep()
        if (
            name not in self._names
            or (of_put and hello.role != Role.LIST)
            or (hello.flags & RECURSIVE and not deep)
        ):
            raise NoSuchFile("that was not asked for when the shell was started")
        return super()._open_source(hello, name, asker)

    def _asked_deep(self) -> bool:
        return isinstance(self._asked, PathsAsked) and self._asked.recursive

    def _open_place(self, hello: Hello, name: str, asker: Asker) -> UploadPlace:
        asked = self._asked
        if name not in self._names or (
            hello.flags & FORCE and isinstance(asked, PlaceAsked) and not asked.force
        ):
            raise Denied("that was not asked for when the shell was started")
        return super()._open_place(hello, name, asker)
