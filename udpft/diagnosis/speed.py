"""Speed of the path to a server: measured out of memory and from disk to disk.

Theory of operation
-------------------
A *row* is one way to move bytes: out of memory or of a file, down or up, reliable or plain. It is
measured in rounds, and what counts is their median. Each round lasts about a share of the time
that the row may take: how many bytes that is, rounds that do not count find out, each up to eight
times as large as the one before. They warm up what is to be warm, too, for memory is slow when it
is touched for the first time. Each transfer must find the path's rate anew: so on a long path a
round lasts longer than it was said to, for as many round trips as that takes, and some more.

What cannot be measured has a row too, which says why. What goes wrong for other reasons is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from udpft.client.client import Client
from udpft.errors import (
    DestinationExists,
    LocalWriteFailed,
    NoSuchFile,
    TimedOut,
    UploadRefused,
    UsageError,
    VersionMismatch,
)
from udpft.net.clock import clock
from udpft.outcome.result import Result
from udpft.protocol.params import MAX_MEASURED_BYTES
from udpft.protocol.transfer.synthetic import PERIOD_BYTES, SyntheticSource
from udpft.units import format_bytes

REFUSED = "the server takes no uploads"
NO_MEMORY = "plain knows nothing but files"
NO_NAME = "it would stay there; --put-as NAME brings one"
PACED = "paced by --plain-rate"
"""Why something was not measured, and what a plain file's rate is."""

Run = Callable[[int], Result]
"""Moves a number of bytes, or a file of whatever size it has."""

TIME_S = 1.0
"""Seconds for the rounds of a row, unless told otherwise."""

ROUNDS = 3
"""Rounds of a row that count, unless told otherwise."""

_ROUND_TRIPS = 30
"""Of a round, at least: a transfer doubles its rate each round trip, ten times or so."""

_FIRST_BYTES = 1 << 16
_GROWTH = 8
_LONG_ENOUGH = 0.5
"""Share of a round's time that it must last, to count."""

_UNMEASURED_BYTES = 16 << 20
"""Of a file, at most, where nothing out of memory has told how many are worth their time."""

_MAX_FILE_BYTES = 1 << 30
"""Of a file that is made to be brought, at most."""

_PLAIN_PATIENCE_S = 2.0
"""Seconds to wait for plain datagrams: they come at a steady pace, or not at all."""


class Plan(NamedTuple):
    """Plan of the measurements.

    ``time_s``: seconds for the rounds of a row. ``size``: bytes of a round in place of that; 0 for
    as many as there is time for. ``name``: of the file to fetch; by default the largest one in the
    served folder that there is time for. ``put_as``: the name for a file to bring, which stays on
    the server; empty for none. ``folder``: for files that come; by default that for temporary ones.
    """

    time_s: float = TIME_S
    size: int = 0
    rounds: int = ROUNDS
    name: str = ""
    put_as: str = ""
    folder: Path | None = None


class Row(NamedTuple):
    """One way to move bytes, measured, or why not.

    ``results``: of each round. ``missing``: why there are none. ``rtt_s``: the shortest of a few
    round trips of nothing else, just before. ``note``: what else is to be known. ``limited_by`` and
    ``limit``: as in `Result`; of all rounds together, which last long enough to tell.
    """

    what: Literal["memory", "file"]
    direction: Literal["down", "up"]
    mode: Literal["reliable", "plain"]
    results: tuple[Result, ...] = ()
    missing: str = ""
    rtt_s: float = 0.0
    note: str = ""
    limited_by: str = ""
    limit: str = ""

    @property
    def rate_bytes_per_s(self) -> float:
        """The median over the rounds; 0 without any."""
        return median(one.rate_bytes_per_s for one in self.results) if self.results else 0.0

    @property
    def packets(self) -> int:
        """Of all rounds, those sent again among them."""
        return sum(one.bytes // one.chunk_size + 1 + one.resent_packets for one in self.results)

    @property
    def resent_share(self) -> float:
        """Of these packets, how many were sent again."""
        return sum(one.resent_packets for one in self.results) / max(1, self.packets)


class _File(NamedTuple):
    """A file of the server's; or no name, and why there is none."""

    name: str
    size: int = 0
    missing: str = ""


def measure(client: Client, plan: Plan) -> Generator[Row, None, None]:
    """Measure, row after row.

    Args:
        client: connected to the server.
        plan: what to measure.

    Raises:
        NoSuchFile: the plan names a file that is not there.
        DestinationExists: the plan's name for a file to bring is another file's.
        LocalWriteFailed: there is no room for a file here.
        UdpftError: whatever else went wrong.
    """
    client.ping()  # so that no later word about versions can mean anything but a role
    wanted = _named(client, plan.name) if plan.name else None
    if plan.put_as:
        _check_is_free(client, plan.put_as)
    try:
        folder = TemporaryDirectory(prefix="udpft-bench-", dir=plan.folder)
    except OSError as error:
        raise LocalWriteFailed(
            f"no temporary folder: {error.strerror}", hint="--dir names a folder for it"
        ) from error
    with folder as name:
        yield from _Course(client, plan, Path(name)).rows(wanted)


def _named(client: Client, name: str) -> _File:
    for entry in client.list_files(name):
        if not entry.is_folder and entry.path == name.strip("/"):
            return _File(entry.path, entry.size)
    raise UsageError(f"{name!r} is not a single file", hint="--name takes a file's name")


def _check_is_free(client: Client, name: str) -> None:
    """See that nothing has a name there, before anything is measured."""
    if name.endswith("/"):
        raise UsageError(f"{name!r} names no file", hint="--put-as takes a file's name")
    with suppress(NoSuchFile):
        client.list_files(name)
        raise _is_taken(name)


def _is_taken(name: str) -> DestinationExists:
    return DestinationExists(
        f"{name!r} is on the server already", hint="--put-as takes a name that is free"
    )


class _Course:
    """Course of the measurements, one after another, in a folder for the files that come."""

    def __init__(self, client: Client, plan: Plan, folder: Path) -> None:
        self._client = client
        self._plan = plan
        self._path = folder / "file"
        self._round_s = max(plan.time_s / plan.rounds, _ROUND_TRIPS * self._round_trip())

    def rows(self, wanted: _File | None) -> Iterator[Row]:
        """All of them; ``wanted`` is the file that the user has named."""
        down = self._from_memory("down", self._client.fetch_synthetic)
        yield down
        yield Row("memory", "down", "plain", missing=NO_MEMORY)
        up = self._from_memory("up", self._client.store_synthetic)
        yield up
        file = wanted or self._largest(self._bytes_a_round(down) * self._plan.rounds)
        yield self._file_down(file)
        yield self._file_down_plain(file)
        yield self._file_up(up)

    def _round_trip(self) -> float:
        return min(self._client.ping() for _ in range(3))

    def _bytes_a_round(self, row: Row) -> int:
        """Of a file, as a row out of memory has shown."""
        if self._plan.size:
            return self._plan.size
        return int(row.rate_bytes_per_s * self._round_s) or _UNMEASURED_BYTES

    # ------------------------------------------------------------------------------- memory

    def _from_memory(self, direction: Literal["down", "up"], run: Run) -> Row:
        row = Row("memory", direction, "reliable", rtt_s=self._round_trip())
        size, count = self._plan.size, self._plan.rounds

        def rounds(run: Run) -> Sequence[Result]:
            if not size:
                return timed_rounds(run, self._round_s, count)
            run(min(size, PERIOD_BYTES))
            return [run(size) for _ in range(count)]

        try:
            return self._measured(row, run, rounds)
        except UploadRefused:
            return row._replace(missing=REFUSED)
        except VersionMismatch:
            return row._replace(missing="the server is too old to be measured from memory")

    def _measured(self, row: Row, run: Run, rounds: Callable[[Run], Sequence[Result]]) -> Row:
        """A row with the rounds that count, and what limited them and those that do not."""
        every: list[Result] = []

        def noted(size: int) -> Result:
            every.append(run(size))
            return every[-1]

        before = self._client.usage()
        counted = rounds(noted)
        used = self._client.usage().since(before)
        together = every[0]._replace(
            bytes=sum(one.bytes for one in every),
            resumed_bytes=sum(one.resumed_bytes for one in every),
            resent_packets=sum(one.resent_packets for one in every),
            dropped_packets=sum(one.dropped_packets for one in every),
        )
        total = together.measured(
            used, rate_limit=self._client.limit_rate, receives=row.direction == "down"
        )
        return row._replace(results=tuple(counted), limited_by=total.limited_by, limit=total.limit)

    # -------------------------------------------------------------------------------- files

    def _largest(self, max_bytes: int) -> _File:
        """The largest file in the served folder, up to a size."""
        entries = self._client.list_files()
        files = [entry for entry in entries if not entry.is_folder and entry.size]
        if not files:
            return _File("", missing="no file in the served folder; see --name")
        fitting = [entry for entry in files if entry.size <= max_bytes]
        if not fitting:
            limit = format_bytes(max_bytes)
            return _File("", missing=f"no file there of up to {limit}; see --name")
        largest = max(fitting, key=lambda entry: entry.size)
        return _File(largest.path, largest.size)

    def _rounds(self, run: Run) -> Sequence[Result]:
        """Rounds of a file; the first does not count where others follow.

        None begins after twice the time of a row: the file may be larger than that allows.
        """
        until = clock() + 2 * self._plan.rounds * self._round_s
        results = [run(0)]
        while len(results) <= self._plan.rounds and clock() < until:
            results.append(run(0))
        return results[1:] or results

    def _file_down(self, file: _File) -> Row:
        row = Row("file", "down", "reliable", rtt_s=self._round_trip(), missing=file.missing)
        if file.missing:
            return row

        def run(_: int) -> Result:
            result = self._client.fetch(file.name, self._path, resume=False)
            self._path.unlink()
            return result

        return self._measured(row, run, self._rounds)

    def _file_down_plain(self, file: _File) -> Row:
        row = Row("file", "down", "plain", rtt_s=self._round_trip(), missing=file.missing)
        if self._client.keyed:
            return row._replace(missing="plain knows no keys")
        if file.missing:
            return row
        try:
            results = self._rounds(lambda _: self._fetch_plain(file.name))
        except TimedOut:
            return row._replace(missing="no answer: no plain is served, or not to here")
        except UsageError as error:
            return row._replace(missing=str(error))
        whole = [one.bytes for one in results if one.complete]
        lost = 1 - median(whole) / file.size if whole and file.size else 0.0
        note = f"{100 * lost:.3g} % lost" if lost > 0 else ""
        if not note and (results[0].bytes >= _FIRST_BYTES or not results[0].complete):
            note = PACED
        return row._replace(results=tuple(results), note=note)

    def _fetch_plain(self, name: str) -> Result:
        """A plain fetch, broken off when a round's time is over, and then not ``complete``."""
        began = at = clock()
        done, complete = 0, False

        def progress(done_bytes: int, total_bytes: int) -> None:
            nonlocal at, done, complete
            complete = total_bytes >= 0
            if complete or done_bytes > done:
                done, at = done_bytes, clock()
            if not complete and at - began >= self._plan.time_s / self._plan.rounds:
                raise _Enough  # the server stops where nobody listens any more

        own = self._client
        with (
            Client(
                str(own.server),
                connect_timeout=min(own.connect_timeout, _PLAIN_PATIENCE_S),
                timeout=min(own.timeout, _PLAIN_PATIENCE_S),
                stop=own.stop,
            ) as client,
            suppress(_Enough),
        ):
            client.fetch_plain(name, self._path, force=True, allow_partial=True, progress=progress)
        self._path.unlink(missing_ok=True)
        seconds = at - began
        return Result(
            name, str(self._path), done, seconds, "", 0, "plain", verified=False, complete=complete
        )

    def _file_up(self, up: Row) -> Row:
        row = Row("file", "up", "reliable", rtt_s=self._round_trip())
        name = self._plan.put_as
        if up.missing == REFUSED:
            return row._replace(missing=REFUSED)
        if not name:
            return row._replace(missing=NO_NAME)
        size = min(self._bytes_a_round(up), _MAX_FILE_BYTES)
        _write_pattern(self._path, size)

        ours = False

        def run(_: int) -> Result:
            nonlocal ours
            result = self._client.store(self._path, name, force=ours)
            ours = True  # and so to be replaced
            return result

        try:
            return self._measured(row, run, self._rounds)
        except UploadRefused:
            return row._replace(missing=REFUSED)
        except DestinationExists:  # it came meanwhile, or is one that is not listed
            raise _is_taken(name) from None


def timed_rounds(run: Run, seconds: float, count: int) -> list[Result]:
    """Rounds that last about so many seconds each, or half of that at least.

    One that is shorter does not count, and the next one is larger.

    Args:
        run: moves a number of bytes.
        seconds: of a round.
        count: how many rounds there are to be.
    """
    size, rounds = _FIRST_BYTES, list[Result]()
    while len(rounds) < count:
        result = run(size)
        fitting = min(int(result.rate_bytes_per_s * seconds), MAX_MEASURED_BYTES)
        if fitting <= size or result.seconds >= _LONG_ENOUGH * seconds:
            rounds.append(result)
        size = max(size, min(_GROWTH * size, fitting))
    return rounds


class _Enough(Exception):
    """It has been long enough."""


def _write_pattern(path: Path, size: int) -> None:
    """Make a file to bring. Raises LocalWriteFailed."""
    pattern, block = SyntheticSource(size), memoryview(bytearray(min(size, PERIOD_BYTES)))
    try:
        with path.open("wb") as file:
            for at in range(0, size, PERIOD_BYTES):
                slot = block[: size - at]
                pattern.readv([slot], at)
                file.write(slot)
    except OSError as error:
        raise LocalWriteFailed(
            f"cannot write {path}: {error.strerror}", hint="--size asks for a smaller one"
        ) from error
