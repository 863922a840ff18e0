"""udpft for asyncio: the functions of `udpft.api`, and a client, to be awaited.

    async with udpft.aio.serve("/srv/files", port=0) as server:
        result = await udpft.aio.get("hello.txt", server=server.address, output="/tmp/")

They take the same arguments, return the same results and raise the same errors. Theory of
operation:

A transfer has a thread of its own, in which the blocking function runs. It is none of the loop's
executor: a transfer of an hour would keep a place there from others, and a hundred transfers would
wait for each other. Callbacks, such as ``progress``, are called in the loop's thread, in order,
and none after the transfer's end. What one raises ends the transfer and is raised to its caller.

Cancelling the task ends the transfer as an error would: the server is told, and a part that can be
gone on with stays. The thread waits for a `Stop` beside its socket, so it hears of it at once. The
task ends when the thread has: then the part file is unlocked, and the next get may go on with it.
The one thing that cancelling waits for is a disk that is being synced for a file that is complete.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from functools import partial, wraps
from threading import Thread
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack

from udpft import api
from udpft.arguments import ServerName
from udpft.client.client import Client as BlockingClient
from udpft.errors import Stopped
from udpft.net.stop import Stop
from udpft.outcome.progress import Progress
from udpft.outcome.served import Refused, Served

__all__ = [
    "Client",
    "RunningServer",
    "connect",
    "get",
    "list_files",
    "ping",
    "put",
    "read_bytes",
    "serve",
]

P = ParamSpec("P")
T = TypeVar("T")


async def _in_thread(call: Callable[[], T], cancel: Callable[[], object]) -> T:
    """Run a blocking function in a thread of its own; return what it returns.

    Args:
        call: the function.
        cancel: makes it return soon, where this is cancelled.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            finish = partial(ended.set_result, call())
        except BaseException as error:
            finish = partial(ended.set_exception, error)
        with suppress(RuntimeError):  # a loop that was closed wants to know no more
            loop.call_soon_threadsafe(finish)

    context = copy_context()  # callbacks find there what the caller has in it
    thread = Thread(target=context.run, args=(work,), name="udpft-aio", daemon=True)
    thread.start()
    try:
        await asyncio.wait([ended])
    except asyncio.CancelledError:
        cancel()
        while not ended.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([ended])
        ended.exception()  # looked at, and not told: the caller wants no more of it
        raise
    finally:
        if ended.done():
            thread.join()  # it is at its last line
    return ended.result()


async def _run(call: Callable[..., T], keywords: dict[str, Any], stop: Stop) -> T:
    """Run a blocking function that ``stop`` breaks off; return what it returns.

    Its callbacks are called in the loop's thread.
    """
    loop = asyncio.get_running_loop()
    failures: list[Exception] = []

    def in_loop(callback: Progress) -> Progress:
        def report(done_bytes: int, total_bytes: int) -> None:
            if not stop.is_set():
                try:
                    callback(done_bytes, total_bytes)
                except Exception as error:
                    failures.append(error)
                    stop.set()

        def told(done_bytes: int, total_bytes: int) -> None:
            loop.call_soon_threadsafe(report, done_bytes, total_bytes)

        return told

    for name in ("progress", "on_resume"):
        if keywords.get(name):
            keywords[name] = in_loop(keywords[name])
    try:
        result = await _in_thread(partial(call, **keywords), stop.set)
    except Stopped:
        if not failures:
            raise
    if failures:
        raise failures[0]
    return result


def _awaited(call: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A function of `api`, to be awaited."""

    @wraps(call)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
        stop: Any = kwargs.get("stop") or Stop()
        return await _run(partial(call, *args), {**kwargs, "stop": stop}, stop)

    return awaited


get = _awaited(api.get)
read_bytes = _awaited(api.read_bytes)
put = _awaited(api.put)
list_files = _awaited(api.list_files)
ping = _awaited(api.ping)


def _method(
    call: Callable[Concatenate[BlockingClient, P], T],
) -> Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]:
    """A method of the blocking client, to be awaited."""

    @wraps(call)
    async def awaited(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turn:
            self._client.stop = stop = self._stop or Stop()
            return await _run(partial(call, self._client, *args), dict(kwargs), stop)

    return awaited


class Client:
    """A `udpft.Client` whose methods are awaited; `connect` makes one.

    Any number of tasks may share it. Their requests are made one after another: for transfers at
    the same time, each needs a client of its own. Cancelling a task ends its request only.

    Attributes:
        server: the server's address.

    Args:
        client: the blocking one.
        stop: the `udpft.Stop` that it was made with. A request that is cancelled sets it, and so
            ends all requests of the client; without one, each request has its own.
    """

    def __init__(self, client: BlockingClient, stop: Stop | None) -> None:
        self.server = client.server
        self._client = client
        self._stop = stop
        self._turn = asyncio.Lock()  # held by the request at work

    fetch = _method(BlockingClient.fetch)
    read_bytes = _method(BlockingClient.read_bytes)
    fetch_range = _method(BlockingClient.fetch_range)
    fetch_tree = _method(BlockingClient.fetch_tree)
    fetch_plain = _method(BlockingClient.fetch_plain)
    store = _method(BlockingClient.store)
    store_tree = _method(BlockingClient.store_tree)
    list_files = _method(BlockingClient.list_files)
    is_one_file = _method(BlockingClient.is_one_file)
    ping = _method(BlockingClient.ping)

    async def close(self) -> None:
        """Close the socket, after the request at work."""
        async with self._turn:
            self._client.close()


class Connecting:
    """A `Client` in the making: awaited, or entered for as long as a block takes."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Client]]) -> None:
        self._make = make
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, Any, Client]:
        return self._make().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._make()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        assert self._client
        await self._client.close()


def connect(server: ServerName, **options: Unpack[api.ClientOptions]) -> Connecting:
    """Make a `Client` of a server: ``async with`` closes it, and ``await`` leaves that to you.

    Args:
        server: ``HOST`` or ``HOST:PORT``, or what `serve` returned.
        options: of `udpft.Client`.

    Raises:
        UdpftError: as `udpft.Client`, once it is awaited or entered.
    """

    own_stop = options.get("stop")

    async def make() -> Client:
        stop = own_stop or Stop()  # breaks off the resolver
        given = options.copy()
        given["stop"] = stop
        return Client(
            await _in_thread(partial(BlockingClient, server, **given), stop.set), own_stop
        )

    return Connecting(make)


class RunningServer:
    """A server at work in a thread of its own: see `api.RunningServer`."""

    def __init__(self, running: api.RunningServer) -> None:
        self._running = running
        self.host = running.host
        self.port = running.port
        self.address = running.address

    async def stop(self, drain: float | None = None) -> None:
        """End the server; return when it has ended. Cancelled, it cuts off transfers at work.

        Args:
            drain: seconds that they have to end, five by default.
        """
        stop = self._running.stop
        await _in_thread(partial(stop, drain), partial(stop, 0, wait=False))


@asynccontextmanager
async def serve(
    directory: str | os.PathLike[str],
    *,
    on_served: Callable[[Served], object] = lambda _: None,
    on_refused: Callable[[Refused], object] = lambda _: None,
    on_notice: Callable[[str], object] = lambda _: None,
    **options: Unpack[api.ServerOptions],
) -> AsyncIterator[RunningServer]:
    """Serve a folder as long as the block takes.

    Args:
        directory: the folder.
        on_served: called in the loop's thread with each transfer that is over.
        on_refused: likewise, with each request that is refused.
        on_notice: likewise, with each line that a log should have beside.
        options: of `udpft.server.server.Server`; ``port=0`` takes any free port.

    Raises:
        UdpftError: as `api.serve`.
    """
    loop = asyncio.get_running_loop()
    started: list[api.RunningServer] = []

    def in_loop(callback: Callable[[T], object]) -> Callable[[T], None]:
        def tell(what: T) -> None:
            with suppress(RuntimeError):  # the loop was closed, with the server still in it
                loop.call_soon_threadsafe(callback, what)

        return tell

    def start() -> None:
        started.append(
            api.serve(
                directory,
                on_served=in_loop(on_served),
                on_refused=in_loop(on_refused),
                on_notice=in_loop(on_notice),
                **options,
            )
        )

    try:
        await _in_thread(start, lambda: None)
        yield RunningServer(started[0])
    finally:
        for running in started:
            await RunningServer(running).stop()
