"""Survey of a tree's destination: which of its files are there, which come, which cannot."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final, NamedTuple, overload

from udpft.protocol.wire.listing import Entry, Reason, files_of
from udpft.storage.partfile import write_failure
from udpft.storage.trees.folders import Folders

REFUSALS: Final = {
    errno.ENAMETOOLONG: "the name is too long there",
    errno.EINVAL: "no such name can be there",
    errno.EILSEQ: "the name is no UTF-8, and has to be there",
    errno.ENOENT: "no such name can be there",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted there",
    errno.ELOOP: "a symlink is in the way",
    errno.ENOTDIR: "no folder leads there",
}
"""Errors of the system that concern one name, and what to say of them. Others end the transfer."""

DIFFERENT_CONTENT: Final = "differs, and has the same size"
"""Words for a file whose content alone shows that it is a different one."""

GRANULARITIES: Final = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000, 100, 1)
"""Nanoseconds between two times of a file system: FAT, ext3, exFAT, UDF, NTFS, ext4."""


class Placed(NamedTuple):
    """Entry of a listing, and its place.

    ``place``: components of its path below the destination; none for the destination itself.
    """

    entry: Entry
    place: tuple[str, ...]


class PlacedEntries(Sequence[Placed]):
    """Entries of a listing with their places, which are made when they are asked for.

    Those of a hundred thousand files would take more memory than all else of a tree.

    Args:
        entries: of the listing.
        skipped: how many of the first components of their paths their places lack.

    Attributes:
        entries: as ``entries``; never changes.
        _skipped: as ``skipped``; never changes.
    """

    def __init__(self, entries: Sequence[Entry], skipped: int = 0) -> None:
        self.entries = entries
        self._skipped = skipped

    def files(self) -> PlacedEntries:
        """Those that are files."""
        return PlacedEntries(files_of(self.entries), self._skipped)

    def texts(self) -> Iterator[str]:
        """Iterate over the places as text, with slashes: quicker made than places."""
        skipped = self._skipped
        if not skipped:
            return (entry.path for entry in self.entries)
        return ("/".join(entry.path.split("/")[skipped:]) for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, at: int) -> Placed: ...
    @overload
    def __getitem__(self, at: slice) -> PlacedEntries: ...
    def __getitem__(self, at: int | slice) -> Placed | PlacedEntries:
        if isinstance(at, slice):
            return PlacedEntries(self.entries[at], self._skipped)
        entry = self.entries[at]
        return Placed(entry, tuple(entry.path.split("/")[self._skipped :]))


class Link(NamedTuple):
    """Symlink to be made.

    ``path``: as the listing has it. ``place``: as of `Placed`.
    """

    path: str
    place: tuple[str, ...]
    target: str


class Problem(NamedTuple):
    """Entry of a tree that does not come, or has not come.

    ``path``: as the listing has it. ``words``: the reason, for people; empty where `Reason` says
    all.
    """

    path: str
    reason: Reason
    words: str = ""


Compare = Callable[[Folders, Sequence[Placed]], Collection[str] | None]
"""Comparison of files that have the size of those in the listing, and another time: the paths of
those whose contents are the same; None where the digest of the whole tree is to tell."""


class TreeOptions(NamedTuple):
    """Options of a tree's destination.

    ``force``: replace different files. ``trust``: take a file of the same size and time for the
    same; else those of the same size are compared, byte by byte. ``checksum``: take a file of the
    same size for the same, and let the digest of the tree say whether it is. ``resume``: go on with
    what an earlier transfer left, and leave what is held to the next one. ``key``: tells the
    staging folder from those of other trees of this name. ``earlier``: name of another staging
    folder, whose files are taken over as far as this tree has them. ``unwanted``: paths of files
    that the listing has, and that are left alone. ``on_removed``: see `leftovers.Leftovers`.
    ``compare``: compares what has the same size and another time, with the folders of the
    destination; None where such files count as different.
    """

    force: bool = False
    trust: bool = True
    checksum: bool = False
    resume: bool = True
    key: str = ""
    earlier: str = ""
    unwanted: frozenset[str] = frozenset()
    on_removed: Callable[[str], None] | None = None
    compare: Compare | None = None


class Survey(NamedTuple):
    """Finding of a survey; files by their numbers.

    ``held``: the destination has them, as far as size and time or the digest tell. ``compared``:
    those that come and are compared with what is there. ``skipped``: they are not to come.
    ``twins``: places of which the file system may take two for one. ``retimed``: those of both
    that have another time, and get that of the listing if they are the same. ``unproven``: those
    of them whose contents only the digest of the tree tells.
    """

    held: set[int]
    compared: set[int]
    skipped: set[int]
    problems: list[Problem]
    twins: set[tuple[str, ...]]
    retimed: set[int]
    unproven: set[int]

    @classmethod
    def empty(cls, twins: set[tuple[str, ...]]) -> Survey:
        """Make one that nothing is found of yet."""
        return cls(set(), set(), set(), [], twins, set(), set())


def survey(
    folders: Folders,
    folder: Path,
    placed: Sequence[Placed],
    options: TreeOptions,
    granularity_ns: int | None,
) -> Survey:
    """Look at the destination of each entry.

    Args:
        folders: of the destination.
        folder: the destination, for messages.
        placed: the entries.
        options: of the tree.
        granularity_ns: nanoseconds between two times of the file system; 0 where it takes none,
            None where that is not known: see `is_same_time`.

    Raises:
        LocalWriteFailed: a folder may not be searched, or the disk fails.
    """
    found = Survey.empty(_twins(placed))
    doubtful: list[tuple[int, Placed]] = []
    number = -1
    blocked: tuple[str, ...] | None = None  # the last folder whose name something else has
    missing: str | None = None  # the last that is not there, with a slash: nothing is below it
    for at, entry in enumerate(_entries_of(placed)):
        number += not entry.is_folder
        if entry.path in options.unwanted:
            found.skipped.add(number)
            continue
        if missing and entry.path.startswith(missing):
            continue
        place = placed[at].place
        if not place:
            continue
        words = ""
        if blocked and place[: len(blocked)] == blocked:
            words = REFUSALS[errno.ENOTDIR]
        else:
            status, words = _look_up(folders, folder, place)
            if status and S_ISDIR(status.st_mode) != entry.is_folder:
                words = _in_the_way(status)
            elif status is None and entry.is_folder and not words:
                missing = f"{entry.path}/"
            elif status and not entry.is_folder:
                one = Placed(entry, place)
                if _is_doubtful(found, folders, number, one, status, options, granularity_ns):
                    doubtful.append((number, one))
        if words:
            found.problems.append(Problem(entry.path, Reason.REFUSED, words))
            if entry.is_folder:
                blocked = place
            else:
                found.skipped.add(number)
    if doubtful:
        _compare(found, folders, doubtful, options.compare)
    return found


def _look_up(
    folders: Folders, folder: Path, place: tuple[str, ...]
) -> tuple[os.stat_result | None, str]:
    """Read the status of a place, or say why it cannot be one. Raises LocalWriteFailed."""
    try:
        return _status(folders, place), ""
    except OSError as error:
        if error.errno not in REFUSALS or error.errno == errno.EACCES:
            raise write_failure(folder.joinpath(*place), error) from error
        return None, REFUSALS[error.errno]


def _in_the_way(status: os.stat_result) -> str:
    """Say what has the name of a file or a folder, and is none."""
    if S_ISDIR(status.st_mode):
        return "a folder has its name"
    return REFUSALS[errno.ELOOP] if S_ISLNK(status.st_mode) else "a file has its name"


def _is_doubtful(
    found: Survey,
    folders: Folders,
    number: int,
    placed: Placed,
    status: os.stat_result,
    options: TreeOptions,
    granularity_ns: int | None,
) -> bool:
    """Decide about a file whose name something has, unless only its content could tell."""
    entry, place = placed
    if place in found.twins and not is_spelled_so(folders, place):
        found.problems.append(Problem(entry.path, Reason.FOLDED))
        found.skipped.add(number)
        return False
    same_size = S_ISREG(status.st_mode) and status.st_size == entry.size
    same_time = is_same_time(status.st_mtime_ns, entry.mtime_ns, granularity_ns)
    if same_size and options.trust and (same_time or options.checksum):
        found.held.add(number)
        if not same_time:
            found.retimed.add(number)
    elif same_size and not options.trust:
        found.compared.add(number)
        if not same_time:
            found.retimed.add(number)
    elif same_size and options.compare and not options.force:
        return True
    elif not options.force:
        found.problems.append(Problem(entry.path, Reason.DIFFERENT))
        found.skipped.add(number)
    return False


def _compare(
    found: Survey,
    folders: Folders,
    doubtful: Sequence[tuple[int, Placed]],
    compare: Compare | None,
) -> None:
    """Decide about files that have the size of those in the listing, and another time."""
    same = compare(folders, [one for _, one in doubtful]) if compare else ()
    for number, (entry, _) in doubtful:
        if same is None or entry.path in same:
            found.held.add(number)
            found.retimed.add(number)
            if same is None:
                found.unproven.add(number)
        else:
            found.problems.append(Problem(entry.path, Reason.DIFFERENT, DIFFERENT_CONTENT))
            found.skipped.add(number)


def is_same_time(there_ns: int, told_ns: int, granularity_ns: int | None = None) -> bool:
    """Tell whether a file's time is that of a listing, as exactly as its file system keeps times.

    ``granularity_ns``: nanoseconds between two of them; 0 where it takes none. Where it is None, it
    is as coarse as the file's time looks.
    """
    if granularity_ns is None:
        granularity_ns = next(step for step in GRANULARITIES if not there_ns % step)
    return not granularity_ns or abs(there_ns - told_ns) < max(1, granularity_ns)


def _status(folders: Folders, place: Sequence[str]) -> os.stat_result | None:
    """Read the status of a place; None where it is missing, or behind a symlink."""
    try:
        return os.lstat(place[-1], dir_fd=folders.open(place[:-1]))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_spelled_so(folders: Folders, place: Sequence[str]) -> bool:
    """Tell whether a folder lists a name as it is, and not another that the file system folds."""
    try:
        return place[-1] in os.listdir(folders.open(place[:-1]))
    except OSError:
        return False


def _entries_of(placed: Sequence[Placed]) -> Sequence[Entry]:
    return placed.entries if isinstance(placed, PlacedEntries) else [one.entry for one in placed]


def _texts_of(placed: Sequence[Placed]) -> Iterator[str]:
    if isinstance(placed, PlacedEntries):
        return placed.texts()
    return ("/".join(one.place) for one in placed)


def _twins(placed: Sequence[Placed]) -> set[tuple[str, ...]]:
    """Places of files that differ in what some file systems do not tell apart."""
    seen: set[int] = set()  # of hashes, which take less memory than names
    twice: set[int] = set()
    for text in _texts_of(placed):
        key = hash(_folded(text))
        (twice if key in seen else seen).add(key)
    if not twice:
        return set()
    texts = enumerate(_texts_of(placed))
    return {placed[at].place for at, text in texts if hash(_folded(text)) in twice}


def _folded(text: str) -> str:
    """A place without case, Unicode's forms, and the dots and spaces that FAT drops at an end."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    else:
        text = text.lower()
    if ". " not in text and not text.endswith((".", " ")) and "./" not in text and " /" not in text:
        return text
    return "/".join(part.rstrip(". ") for part in text.split("/"))
