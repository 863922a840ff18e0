"""Fetch from replicas: several servers of the same file, which send stripes of it at once.

Each server has a thread and a connection. A stripe is a range whose chunks are the file's chunks,
so they go to their places in its part file, and into its journal. That every server has the same
file is seen at the end: each that is there compares its digest with that of all that has come,
whoever sent it. Where the digests differ, so do the servers' files, and there is no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from threading import Condition, Thread
from typing import Final

from udpft.client.connection import Connection, Connector
from udpft.client.fetch import request, result_of
from udpft.client.parts.stripes import STALLED_S, Stripe, StripePlan
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    NetworkError,
    PartialTransfer,
    ServerBusy,
    ServerRefused,
    SourceChanged,
    Stopped,
    TimedOut,
    UdpftError,
)
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.net.stop import Stop
from udpft.outcome.origin import Origin, ServerShare
from udpft.outcome.progress import PROGRESS_INTERVAL_S, Progress
from udpft.outcome.result import Result
from udpft.protocol.client.download import Download
from udpft.protocol.contract import Completed, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult, byte_ranges
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.accept import NO_PART, Accept
from udpft.protocol.wire.data import HASH_SIZE
from udpft.protocol.wire.hello import Role
from udpft.storage.destination import Destination, InMemory

_FIRST_BYTE: Final = (0, 1)
"""Range that is asked for to hear of a file: its size and its version."""

_AGAIN_S: Final = (0.25, 0.5, 1.0, 2.0)
"""Pauses before a server that has failed is asked again; the last one, over and over."""

_WAIT_S: Final = 0.05
"""Seconds after which a server without work looks whether there is some by now."""

_AGREE_S: Final = 1.0
"""Seconds that the others have to confirm a file once one of them has."""

_ANSWER_S: Final = 2.0
"""Seconds that other servers have to answer, where what is here already is of one of theirs."""


class _Enough(Stopped):
    """End of a stripe whose rest another server sends."""


class _Mixture(DigestMismatch):
    """Error whose part file is removed: it is of several files."""


class _Replica:
    """One of the servers.

    Attributes:
        name: its address, as the user gave it.
        connect: opens a connection to it.
        known: what it last said of the file; None before it has answered.
        bytes_came: bytes of the file that it has sent.
        chunks_came: the same in chunks.
        busy_s: seconds that this took.
        resent: packets that it has sent more than once.
        error: why it does not send; None while it may.
        is_out: whether it is asked no more.
    """

    def __init__(self, name: str, connect: Callable[[], Connection]) -> None:
        self.name = name
        self.connect = connect
        self.known: Accept | None = None
        self.bytes_came = 0
        self.chunks_came = 0
        self.busy_s = 0.0
        self.resent = 0
        self.error: UdpftError | None = None
        self.is_out = False

    @property
    def chunks_per_s(self) -> float:
        """Chunks that it sends in a second; 0 where that is not known."""
        return self.chunks_came / self.busy_s if self.busy_s else 0.0

    def note_known(self, accept: Accept) -> None:
        """Note what it says of the file.

        Raises:
            SourceChanged: that is not what it has said before.
        """
        if self.known and accept.part[1:] != self.known.part[1:]:
            raise SourceChanged(f"the file changed on {self.name} while it was sent")
        self.known = accept


class _File:
    """File that all replicas send, as the first of them has described it.

    Attributes:
        known: what that one has said of it; never changes, nor do the others.
        plan: who sends what.
        opened: its part file.
        held_bytes: bytes that were here already.
    """

    def __init__(self, known: Accept, destination: Destination, servers: int) -> None:
        part = known.part
        whole = known._replace(size=part.file_size, identity=part.file_identity, part=NO_PART)
        have = destination.have if destination.have_of == part.file_identity else ()
        self.known = whole
        self.opened = destination.open_sink(HandshakeResult(whole, 0, b"", 0.0, have))
        held = RangeSet()
        for first, hashes in self.opened.present:
            held.add(first, first + len(hashes) // HASH_SIZE)
        self.plan = StripePlan(-(-part.file_size // known.chunk_size), held, servers)
        self.held_bytes = self.bytes_held()

    def bytes_held(self) -> int:
        """Bytes that are here by now."""
        known = self.known
        return sum(b - a for a, b in byte_ranges(self.plan.held, known.chunk_size, known.size))

    def bytes_of(self, start: int, stop: int) -> tuple[int, int]:
        """First byte of a run of chunks, and the byte behind its last one."""
        known = self.known
        return start * known.chunk_size, min(stop * known.chunk_size, known.size)


class _StripeTarget:
    """Target of one stripe: its places in the file. See `Target`."""

    have: tuple[tuple[int, int], ...] = ()
    have_of = 0
    compares = False

    def __init__(self, striped: _Striped, replica: _Replica, stripe: Stripe) -> None:
        self._striped = striped
        self._replica = replica
        self._stripe = stripe
        self._chunk_count = stripe.stop - stripe.start
        """Chunks that are asked for; behind them comes an empty one, which ends the range."""

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Take the stripe's chunks in. Raises as `_Striped.check` does."""
        self._striped.check(self._replica, handshake.accept)
        return OpenedSink(self, note_hashes=self.note_hashes)

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots to the file, from ``offset`` bytes of the stripe on."""
        self._striped.write(slots, self._stripe, offset)

    def note_hashes(self, first: int, hashes: bytes) -> None:
        """Note hashes of chunks that were written, by their numbers in the stripe."""
        count = min(len(hashes) // HASH_SIZE, self._chunk_count - first)
        if count > 0:
            start, hashes = self._stripe.start + first, hashes[: count * HASH_SIZE]
            self._striped.note(self._replica, self._stripe, start, hashes)

    def commit(self) -> None:
        """Do nothing: the file is not whole by that."""

    def is_different(self) -> DestinationExists:
        """Make an error that nobody sees: nothing is compared."""
        return DestinationExists("a different file is there")


class _Whole:
    """Target of the last question: whether all that has come is the file. See `Target`."""

    compares = False

    def __init__(self, destination: Destination, file: _File, known: Accept) -> None:
        size = file.known.size
        self.have: tuple[tuple[int, int], ...] = ((0, size),) if size else ()
        self.have_of = known.part.file_identity
        self._destination = destination
        self._file = file

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Give the hashes of all chunks.

        Raises:
            SourceChanged: the server has another file by now.
            LocalReadFailed: what has come cannot be read.
        """
        if handshake.have != self.have:
            raise SourceChanged.under_way("changed")
        opened = self._file.opened
        return OpenedSink(opened.sink, self._destination.hashes_of(handshake), opened.note_hashes)

    def commit(self) -> None:
        """Do nothing: the file gets its name when all have answered."""

    def is_different(self) -> DestinationExists:
        """Make an error that nobody sees: `compares` is False."""
        return self._destination.is_different()


class _Striped:
    """Fetch of one file from all replicas.

    Args:
        name: of the file.
        replicas: the servers, two or more.
        destination: of the file, which is not there yet.
        progress: called with the bytes done and in all.
        stop: breaks it off.
    """

    def __init__(
        self,
        name: str,
        replicas: list[_Replica],
        destination: Destination,
        progress: Progress | None,
        stop: Stop | None,
    ) -> None:
        self._name = name
        self._replicas = replicas
        self._destination = destination
        self._progress = progress
        self._stop = stop
        self._changed = Condition()
        """Guards all that follows; told of each change that somebody may wait for."""
        self._file: _File | None = None
        """The file; None before the first answer."""
        self._failure: BaseException | None = None
        """Why the whole ends; None while it goes on."""
        self._is_over = False
        """Whether everybody is to leave."""
        self._is_confirmed = False
        """Whether nobody's answer to the last question is waited for any more."""

    @property
    def file(self) -> _File:
        """The file, once a replica has answered."""
        assert self._file
        return self._file

    # -------------------------------------------------------------------------- in the threads

    def work(self, replica: _Replica) -> None:
        """Let a replica send whatever there is to send, until all is there."""
        failed = 0
        while not self._is_over and not replica.is_out:
            came = replica.bytes_came
            try:
                with closing(replica.connect()) as connection:
                    self._serve(replica, connection)
                return
            except Stopped:
                return
            except (NetworkError, ServerBusy) as error:
                failed = 0 if replica.bytes_came > came else failed
                pause_s = _AGAIN_S[min(failed, len(_AGAIN_S) - 1)]
                failed += 1
                self._note_error(replica, error)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over, pause_s)
            except ServerRefused as error:
                if isinstance(error, SourceChanged):
                    self._fail(error)
                replica.is_out = True
                self._note_error(replica, error)
            except BaseException as error:
                self._fail(error)
                return

    def _serve(self, replica: _Replica, connection: Connection) -> None:
        """Let a replica send over a connection, until all is there.

        Raises:
            UdpftError: it sends no more, or what it sends cannot be kept.
        """
        if self._file:
            connection.chunk_size = self._file.known.chunk_size
        known = self._ask(connection)
        connection.check_size(self._name, known.part.file_size)
        replica.note_known(known)
        with self._changed:
            self._begin_or_join(replica)
        connection.chunk_size = self.file.known.chunk_size
        while stripe := self._next_stripe(replica):
            began_at, came = clock(), replica.chunks_came
            try:
                self._fetch_stripe(replica, connection, stripe)
            except _Enough:
                if clock() > stripe.moved_at + STALLED_S and not self._is_over:
                    raise TimedOut(f"{replica.name} stopped answering") from None
            finally:
                with self._changed:
                    self.file.plan.end(stripe)
                    if replica.chunks_came > came:
                        replica.busy_s += clock() - began_at
                    self._changed.notify_all()

    def _ask(self, connection: Connection) -> Accept:
        """Ask a server of the file."""
        memory = InMemory(1)
        download = request(connection, self._name, memory, role=Role.RANGE, wanted=_FIRST_BYTE)[1]
        assert download.handshake
        return download.handshake.accept

    def _begin_or_join(self, replica: _Replica) -> None:
        """Begin the file as a replica has described it; or see that it is the others'.

        Raises:
            SourceChanged: it is another one.
            PartialTransfer: the path carries only smaller chunks.
        """
        known = replica.known
        assert known
        of, file_identity = self._destination.have_of, known.part.file_identity
        if not self._file and of and of != file_identity:
            # What is here already is of another one's file, which may be about to answer.
            self._changed.wait_for(lambda: self._file or self._all_have_answered(), _ANSWER_S)
        if not self._file:
            self._file = _File(known, self._destination, len(self._replicas))
        if known.part.file_size != self._file.known.size:
            raise self._differs([one for one in self._replicas if one.known])
        if known.chunk_size != self._file.known.chunk_size:
            raise PartialTransfer(f"the path from {replica.name} carries chunks of another size")
        replica.error = None
        self._changed.notify_all()

    def _all_have_answered(self) -> bool:
        return all(one.known or one.error for one in self._replicas)

    def _next_stripe(self, replica: _Replica) -> Stripe | None:
        """Wait for a stripe; None where there is none any more."""
        plan = self.file.plan
        with self._changed:
            while not (self._is_over or plan.is_done):
                if stripe := plan.take(clock(), replica.chunks_per_s):
                    return stripe
                self._changed.wait(_WAIT_S)
        return None

    def _fetch_stripe(self, replica: _Replica, connection: Connection, stripe: Stripe) -> None:
        """Fetch a stripe. Raises _Enough: another replica sends the rest of it, or all is over."""

        def look(_: float) -> None:
            with self._changed:
                if self._is_over or self.file.plan.is_over(stripe):
                    raise _Enough("another server sends the rest")

        download = request(
            connection,
            self._name,
            _StripeTarget(self, replica, stripe),
            on_turn=look,
            role=Role.RANGE,
            wanted=self.file.bytes_of(stripe.start, stripe.stop),
        )[1]
        replica.resent += download.resent_packets

    def check(self, replica: _Replica, accept: Accept) -> None:
        """See that a replica still has the file that it had, in chunks that fit the others'.

        Raises:
            SourceChanged: it has another one.
            PartialTransfer: the path carries only smaller chunks by now.
        """
        replica.note_known(accept)
        if accept.chunk_size != self.file.known.chunk_size:
            raise PartialTransfer(f"the path from {replica.name} has become narrower")

    def write(self, slots: Sequence[memoryview], stripe: Stripe, offset: int) -> None:
        """Write chunks of a stripe to their places."""
        with self._changed:
            if not self._is_over:
                at = self.file.bytes_of(stripe.start, stripe.stop)[0]
                self.file.opened.sink.writev(slots, at + offset)

    def note(self, replica: _Replica, stripe: Stripe, first: int, hashes: bytes) -> None:
        """Note the hashes of chunks of a stripe that were written, from one of the file's on."""
        file, stop = self.file, first + len(hashes) // HASH_SIZE
        with self._changed:
            if self._is_over:
                return
            if file.opened.note_hashes:
                file.opened.note_hashes(first, hashes)
            file.plan.note(stripe, first, stop, clock())
            replica.chunks_came += stop - first
            begin, end = file.bytes_of(first, stop)
            replica.bytes_came += end - begin
            if file.plan.is_done:
                self._changed.notify_all()

    def _note_error(self, replica: _Replica, error: UdpftError) -> None:
        with self._changed:
            replica.error = error
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._is_over = True
            self._changed.notify_all()

    # ---------------------------------------------------------------------- in the user's thread

    def run(self) -> tuple[Completed, Download]:
        """Fetch the file, and give it its name; return how the last question went.

        Raises:
            UdpftError: see `Client.fetch`.
        """
        threads = [
            Thread(target=self.work, args=(one,), name=f"udpft {one.name}", daemon=True)
            for one in self._replicas
        ]
        for thread in threads:
            thread.start()
        try:
            self._wait()
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()
        return self._confirm()

    def _wait(self) -> None:
        """Wait until all is there, and tell of progress meanwhile."""
        while True:
            with self._changed:
                if self._file and self._file.plan.is_done:
                    return
                self._changed.wait(PROGRESS_INTERVAL_S)
                self._check_goes_on()
                held_bytes = self._file.bytes_held() if self._file else 0
            if self._progress and self._file:  # unlocked: nobody waits for the caller's function
                self._progress(held_bytes, self._file.known.size)

    def _check_goes_on(self) -> None:
        """Raise the error that ends all, if there is one."""
        if self._stop:
            self._stop.check()
        if self._failure:
            raise self._failure
        errors = [one.error for one in self._replicas if one.error]
        if len(errors) == len(self._replicas):
            refusals = [error for error in errors if isinstance(error, ServerRefused)]
            raise (refusals or errors)[0]

    def _confirm(self) -> tuple[Completed, Download]:
        """Ask the replicas whether all that has come is their file, and give it its name.

        Raises:
            SourceChanged: it is not: they have different files.
            PartialTransfer: none answers.
        """
        answers: dict[_Replica, tuple[Completed, Download] | BaseException] = {}
        agreed: list[tuple[Completed, Download]] = []
        known = [one for one in self._replicas if one.known and not one.is_out]
        asked = [one for one in known if not one.error] or known

        def ask(replica: _Replica) -> None:
            answer: tuple[Completed, Download] | BaseException
            try:
                answer = self._ask_whether_whole(replica)
                agreed.append(answer)
            except BaseException as error:
                answer = error
            with self._changed:
                answers[replica] = answer
                self._changed.notify_all()

        for replica in asked:
            Thread(target=ask, args=(replica,), daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: agreed or len(answers) == len(asked))
            # Whose digest is the same has the same file: who sent it, and is gone by now, too.
            self._changed.wait_for(lambda: len(answers) == len(asked), _AGREE_S)
            self._is_confirmed = True
            self._changed.wait_for(lambda: len(answers) == len(asked))
        errors = [one for one in answers.values() if isinstance(one, BaseException)]
        if any(isinstance(error, DigestMismatch) for error in errors):
            raise self._differs(asked)
        for error in errors:
            if not isinstance(error, NetworkError | ServerBusy | _Enough):
                raise error
        if not agreed:
            raise PartialTransfer(f"all of it has come, and no server confirms it: {errors[0]}")
        self._destination.commit()
        return agreed[0]

    def _ask_whether_whole(self, replica: _Replica) -> tuple[Completed, Download]:
        """Ask a replica whether all that has come is its file. Raises DigestMismatch: it is not."""
        assert replica.known

        def look(_: float) -> None:
            if self._is_confirmed:
                raise _Enough("another server has confirmed it")

        target = _Whole(self._destination, self.file, replica.known)
        with closing(replica.connect()) as connection:
            connection.chunk_size = self.file.known.chunk_size
            return request(connection, self._name, target, on_turn=look)

    def _differs(self, replicas: list[_Replica]) -> SourceChanged:
        names = " and ".join(one.name for one in replicas)
        return SourceChanged(
            f"{self._name!r} is not the same file on {names}",
            hint="name one of them; or make the files alike",
        )

    def completed(self, result: Result) -> Result:
        """Complete a result by what came from whom."""
        shares = tuple(ServerShare(one.name, one.bytes_came) for one in self._replicas)
        return result._replace(
            origin=Origin(servers=shares),
            resent_packets=sum(one.resent for one in self._replicas),
            resumed_bytes=self.file.held_bytes,
        )


def fetch_striped(
    connector: Connector,
    servers: Sequence[Address],
    stop: Stop | None,
    name: str,
    open_destination: Callable[[], Destination],
    *,
    progress: Progress | None,
) -> Result:
    """Fetch one file from several servers at once: see `Client.fetch`.

    Args:
        connector: opens a connection to each.
        servers: their addresses.
        stop: breaks it off.
        name: of the file.
        open_destination: opens where it goes.
        progress: called with the bytes done and in all.

    Raises:
        SourceChanged: they have different files of that name.
        UdpftError: see `Client.fetch`.
    """
    began_at = clock()
    replicas = [_Replica(str(one), partial(connector.open, one, stop)) for one in servers]
    try:
        with open_destination() as destination:
            destination.makes_room = True
            if destination.compares:
                completed, download = _compare(name, replicas, destination)
                result = result_of(completed, download, name, destination.path, 0.0)
                result = result._replace(up_to_date=True)
            else:
                striped = _Striped(name, replicas, destination, progress, stop)
                try:
                    completed, download = striped.run()
                except SourceChanged as error:
                    # What has come is a mixture, and nothing to go on with.
                    raise _Mixture(str(error), hint=error.hint) from error
                result = result_of(completed, download, name, destination.path, 0.0)
                result = striped.completed(result)._replace(up_to_date=destination.appeared)
    except _Mixture as error:
        raise SourceChanged(str(error), hint=error.hint) from None
    if progress:
        progress(result.bytes, result.bytes)
    return result._replace(seconds=clock() - began_at)


def _compare(
    name: str, replicas: Sequence[_Replica], destination: Destination
) -> tuple[Completed, Download]:
    """Compare the file that is here with that of the first server that answers."""
    for replica in replicas[:-1]:
        with suppress(NetworkError, ServerBusy), closing(replica.connect()) as connection:
            return request(connection, name, destination)
    with closing(replicas[-1].connect()) as connection:
        return request(connection, name, destination)
