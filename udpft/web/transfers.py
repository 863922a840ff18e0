"""Transfers that the page was asked for: each in a thread of its own, seen while it runs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, Literal, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from udpft.client.client import Client
from udpft.errors import DestinationExists, ServerBusy, Stopped, UdpftError
from udpft.net.clock import clock
from udpft.net.stop import Stop
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.web.documents import trace_document
from udpft.web.forms import read_form, text_in
from udpft.web.live import Live, Piece
from udpft.web.rendering import Rendering
from udpft.web.timeline import Curve, Sample, curve_of, thinned

LOGGER = logging.getLogger("udpft.web")
"""Exceptions that nobody expected, with their traces."""

MAX_AT_WORK = 16
"""Transfers at once: each has a thread and a socket."""

MAX_KEPT = 50
"""Transfers that are shown; beyond it the oldest that are over go."""

TRACE_LIMIT = 4 << 20
"""Bytes of the events of a transfer whose packets are written down."""

_JOIN_S = 5.0
"""Seconds that transfers have to end in, with the server."""

State: TypeAlias = Literal["running", "done", "failed", "stopped"]

Call: TypeAlias = Callable[[Client, Progress, bool], Result]
"""Makes a transfer with a client, told of its progress, and whether to replace what differs."""


def words_of_a_bug(error: Exception) -> UdpftError:
    """Words for an exception that nobody expected, whose trace goes to the log."""
    LOGGER.error("a bug in udpft", exc_info=error)
    return UdpftError(
        f"a bug in udpft: {type(error).__name__}", hint="the log of `udpft -v web` has more"
    )


class Transfer:
    """One transfer.

    Attributes:
        id: its number, from 1 on.
        kind: whether it fetches or stores.
        name: of the file, as the server has it.
        state: ``running`` until it is over.
        done_bytes: bytes that are done; grows while it runs.
        total_bytes: bytes in all; 0 until they are known.
        resent_share: share of the packets that were sent again so far.
        result: once it is done.
        error: once it has failed, or was stopped.
        stop: ends it.
        events: file of its packets, where they are written down; None where not.
        samples: of its progress, a few hundred at most.
        version: grows whenever anything of it changes.
        call: makes it, perhaps once more.
        cleanup: closes what the transfer was made of, once it is over.
        _began: seconds on the clock.
    """

    def __init__(
        self, number: int, kind: Literal["get", "put"], name: str, call: Call, events: str | None
    ) -> None:
        self.id = number
        self.kind = kind
        self.name = name
        self.call = call
        self.events = events
        self.cleanup: Callable[[], None] = lambda: None
        self.state: State = "running"
        self.done_bytes = self.total_bytes = 0
        self.resent_share = 0.0
        self.result: Result | None = None
        self.error: UdpftError | None = None
        self.stop = Stop()
        self._began = clock()
        self.samples = [Sample(0.0, 0, 0.0)]
        self.version = 0

    @property
    def share(self) -> float:
        """Share of the bytes that are done."""
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes > 0 else 0.0

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes per second, of the last second or so."""
        last = self.samples[-1]
        first = next(one for one in self.samples if one.at_s >= last.at_s - 1.0)
        if first is last:
            first = self.samples[max(0, len(self.samples) - 2)]
        seconds = last.at_s - first.at_s
        return (last.done_bytes - first.done_bytes) / seconds if seconds > 0 else 0.0

    @property
    def curve(self) -> Curve | None:
        """Its rate over time; None where there is none yet."""
        return curve_of(self.samples)

    @property
    def can_replace(self) -> bool:
        """Whether it has failed only because a different file has the name here."""
        return self.kind == "get" and isinstance(self.error, DestinationExists)

    @property
    def can_go_on(self) -> bool:
        """Whether it may be asked for once more."""
        return self.kind == "get" and self.state in ("failed", "stopped")

    def note(self, done_bytes: int, total_bytes: int, resent_share: float) -> None:
        """Note its progress."""
        self.done_bytes, self.total_bytes = done_bytes, total_bytes
        self.resent_share = resent_share
        self.samples = thinned(
            [*self.samples, Sample(clock() - self._began, done_bytes, resent_share)]
        )
        self.version += 1

    def end(self, state: State, result: Result | None, error: UdpftError | None) -> None:
        """Note its end."""
        self.result, self.error, self.state = result, error, state
        self.version += 1


class Transfers:
    """All transfers of the page, and its view of them. Used in the loop's thread.

    Attributes:
        _rendering: of the page.
        _live: is told of what changes.
        _all: transfers by number, the oldest first.
        _threads: of those at work, by number.
        _numbers: of the next ones.
        _folder: for the packets of transfers; made when the first one needs it.
        _loop: the loop whose thread this is used in; known once a transfer began.
    """

    def __init__(self, rendering: Rendering, live: Live) -> None:
        self._rendering = rendering
        self._live = live
        self._all: dict[int, Transfer] = {}
        self._threads: dict[int, Thread] = {}
        self._numbers = count(1)
        self._folder: TemporaryDirectory[str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        live.add("transfers", self.pieces)

    @property
    def newest_first(self) -> list[Transfer]:
        """All transfers that are shown."""
        return list(reversed(self._all.values()))

    @property
    def at_work(self) -> list[Transfer]:
        """Those that are not over."""
        return [one for one in self._all.values() if one.state == "running"]

    # -------------------------------------------------------------------------------- beginning

    def check_room(self) -> None:
        """See whether one more may begin. Raises ServerBusy."""
        if len(self.at_work) >= MAX_AT_WORK:
            raise ServerBusy(
                f"{MAX_AT_WORK} transfers are at work, and this page makes no more at once",
                hint="wait for one of them, or stop it",
            )

    def fetch(self, name: str, *, is_folder: bool, record: bool, force: bool = False) -> Transfer:
        """Begin to fetch a file or a folder.

        Args:
            name: on the server.
            is_folder: whether it is one.
            record: whether its packets are written down.
            force: replace what differs.

        Raises:
            ServerBusy: too many are at work.
        """
        folder = f"{self._rendering.settings.folder}{os.sep}"

        def call(client: Client, progress: Progress, force: bool) -> Result:
            if is_folder:
                return client.fetch_tree(
                    name, folder, recursive=True, force=force, progress=progress
                )
            return client.fetch(name, folder, force=force, progress=progress)

        return self._begin("get", name, call, force=force, record=record)

    def store(self, name: str, file: IO[bytes], *, record: bool, force: bool) -> Transfer:
        """Begin to store a file, which is closed in the end.

        Args:
            name: on the server.
            file: binary and open.
            record: whether its packets are written down.
            force: replace a different file of that name.

        Raises:
            ServerBusy: too many are at work.
        """

        def call(client: Client, progress: Progress, force: bool) -> Result:
            return client.store(file, name, force=force, progress=progress)

        return self._begin("put", name, call, force=force, record=record, cleanup=file.close)

    def _begin(
        self,
        kind: Literal["get", "put"],
        name: str,
        call: Call,
        *,
        force: bool,
        record: bool,
        cleanup: Callable[[], None] = lambda: None,
    ) -> Transfer:
        self.check_room()
        number = next(self._numbers)
        events = str(self._place_of_events() / f"{number}.sqlog") if record else None
        transfer = Transfer(number, kind, name, call, events)
        transfer.cleanup = cleanup
        self._all[number] = transfer
        self._forget_oldest()
        self._loop = asyncio.get_running_loop()
        thread = Thread(
            target=self._run, args=(transfer, force), name=f"udpft-web-{number}", daemon=True
        )
        self._threads[number] = thread
        thread.start()
        self._live.changed()
        return transfer

    def _place_of_events(self) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="udpft-web-")
        return Path(self._folder.name)

    def _forget_oldest(self) -> None:
        over = [one for one in self._all.values() if one.state != "running"]
        for transfer in over[: max(0, len(self._all) - MAX_KEPT)]:
            del self._all[transfer.id]
            if transfer.events:
                with suppress(OSError):
                    os.unlink(transfer.events)

    # ----------------------------------------------------------------------------- in its thread

    def _run(self, transfer: Transfer, force: bool) -> None:
        try:
            result = self._made(transfer, force)
        except Stopped as error:
            transfer.end("stopped", None, error)
        except UdpftError as error:
            transfer.end("failed", error.result, error)
        except Exception as error:
            transfer.end("failed", None, words_of_a_bug(error))
        else:
            packets = result.bytes // max(1, result.chunk_size) + 1 + result.resent_packets
            transfer.note(result.bytes, result.bytes, result.resent_packets / packets)
            transfer.end("done", result, None)
        finally:
            transfer.cleanup()
            self._tell(lambda: self._threads.pop(transfer.id, None))

    def _made(self, transfer: Transfer, force: bool) -> Result:
        with ExitStack() as stack:
            trace = None
            if transfer.events:
                from udpft.trace.trace import Trace  # most transfers have none

                trace = stack.enter_context(Trace([transfer.events], "client", TRACE_LIMIT))
            client = stack.enter_context(
                self._rendering.settings.client(stop=transfer.stop, trace=trace)
            )

            def progress(done_bytes: int, total_bytes: int) -> None:
                transfer.note(done_bytes, total_bytes, client.resent_share)
                self._tell(lambda: None)

            return transfer.call(client, progress, force)

    def _tell(self, note: Callable[[], object]) -> None:
        """Have something done in the loop's thread, and tell those who listen."""
        assert self._loop is not None

        def told() -> None:
            note()
            self._live.changed()

        with suppress(RuntimeError):  # the loop is closed, and nobody listens
            self._loop.call_soon_threadsafe(told)

    # ------------------------------------------------------------------------------------ its end

    def close(self) -> None:
        """Stop all, and forget what was written down."""
        for transfer in self.at_work:
            transfer.stop.set()
        for thread in list(self._threads.values()):
            thread.join(_JOIN_S)
        if self._folder is not None:
            self._folder.cleanup()

    # ------------------------------------------------------------------------------------ the view

    def pieces(self) -> Sequence[Piece]:
        """Pieces of all pages that show transfers: the list, and what moves in it."""
        shown = self.newest_first
        render = self._rendering.fragment
        states = tuple((one.id, one.state) for one in shown)
        pieces = [Piece("transfers", states, lambda: render("transfer_list.html", transfers=shown))]
        over = [one for one in shown if one.state != "running"]
        pieces.append(Piece("news", states, lambda: render("news.html", transfers=over[:1])))
        for one in shown:
            if one.state == "running":
                pieces.append(
                    Piece(
                        f"moving-{one.id}",
                        one.version,
                        partial(render, "transfer_moving.html", transfer=one),
                    )
                )
        return pieces

    def routes(self) -> list[Route]:
        """Paths of the view."""
        return [
            Route("/transfers", self._show),
            Route("/transfers/{number:int}/stop", self._stop, methods=["POST"]),
            Route("/transfers/{number:int}/again", self._again, methods=["POST"]),
            Route("/transfers/{number:int}/packets", self._packets),
        ]

    async def _show(self, request: Request) -> Response:
        return self._rendering.page(
            request,
            "transfers.html",
            transfers=self.newest_first,
            live="transfers",
            moving="transfers" if self.at_work else "",
        )

    def _asked(self, request: Request) -> Transfer:
        transfer = self._all.get(request.path_params["number"])
        if transfer is None:
            raise HTTPException(404)
        return transfer

    async def _stop(self, request: Request) -> Response:
        await read_form(request, self._rendering.access)
        self._asked(request).stop.set()
        return RedirectResponse("/transfers", 303)

    async def _again(self, request: Request) -> Response:
        form = await read_form(request, self._rendering.access)
        transfer = self._asked(request)
        if transfer.can_go_on:
            self._begin(
                "get",
                transfer.name,
                transfer.call,
                force=text_in(form, "force") == "yes" and transfer.can_replace,
                record=transfer.events is not None,
            )
        return RedirectResponse("/transfers", 303)

    async def _packets(self, request: Request) -> Response:
        transfer = self._asked(request)
        if transfer.events is None or transfer.state == "running":
            raise HTTPException(404)
        with open(transfer.events, "rb") as events:
            return await trace_document(events)
