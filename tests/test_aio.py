"""udpft for asyncio, against real servers: awaiting, cancellation, and leftovers."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import udpft
from tests.loopback import HeldTransfer, address_of
from tests.samples import LARGE, PATIENCE_S, SIZES, sample
from tests.storage.conftest import names
from udpft import aio
from udpft.api import RunningServer
from udpft.errors import (
    HostNotFound,
    NoSuchFile,
    PartialTransfer,
    PortClosed,
    Stopped,
    UdpftError,
    UsageError,
)
from udpft.net.address import Address
from udpft.outcome.served import Served

T = TypeVar("T")

SLOW = 6_000_000
"""Bytes per second at which the large sample takes a second or so."""


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end, which comes at once or not at all."""

    async def limited() -> T:
        return await asyncio.wait_for(main(), PATIENCE_S)

    return asyncio.run(limited())


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task; it must take it."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Halfway:
    """A progress callback that tells when a part has come."""

    def __init__(self, share: float = 0.3) -> None:
        self.reached = asyncio.Event()
        self.told: list[int] = []
        self._share = share

    def __call__(self, done: int, total: int) -> None:
        self.told.append(done)
        if done > self._share * total:
            self.reached.set()


# ------------------------------------------------------------------------------- what it returns


def test_everything_can_be_awaited(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []
    (tmp_path / "there").mkdir()
    (tmp_path / "up").write_bytes(sample(4096))

    async def main() -> None:
        async with aio.serve(samples, port=0, on_served=served.append) as server:
            assert (server.host, server.address) == ("127.0.0.1", f"127.0.0.1:{server.port}")
            assert await aio.ping(server.address) > 0
            entries = await aio.list_files(server=server.address)
            assert {entry.path for entry in entries} == {str(size) for size in SIZES}
            result = await aio.get("4096", server=server.address, output=tmp_path)
            assert (result.path.read_bytes(), result.verified) == (sample(4096), True)
        async with aio.serve(tmp_path / "there", port=0, writable=True) as server:
            await aio.put(tmp_path / "up", server=server.address, as_name="arrived")

    run(main)
    assert [one.name for one in served if one.name == "4096"] == ["4096"]
    assert (tmp_path / "there/arrived").read_bytes() == sample(4096)


def test_many_at_once(server: RunningServer, tmp_path: Path) -> None:
    async def main() -> list[udpft.Result]:
        return await asyncio.gather(
            *(
                aio.get(str(size), server=server.address, output=tmp_path / f"{n}-{size}")
                for n in range(5)
                for size in SIZES
            )
        )

    for result in run(main):
        assert result.path.read_bytes() == sample(result.bytes)


def test_it_is_typed_and_described_as_the_functions_are() -> None:
    for name in ("get", "read_bytes", "put", "list_files", "ping"):
        awaited, blocking = getattr(aio, name), getattr(udpft, name)
        assert inspect.iscoroutinefunction(awaited)
        assert awaited.__doc__ == blocking.__doc__
        assert inspect.signature(awaited) == inspect.signature(blocking)
    requests = {name for name in vars(aio.Client) if not name.startswith("_")} - {"close"}
    assert len(requests) == 10
    for name in requests:
        awaited, blocking = getattr(aio.Client, name), getattr(udpft.Client, name)
        assert inspect.iscoroutinefunction(awaited)
        assert awaited.__doc__ == blocking.__doc__
        assert inspect.signature(awaited) == inspect.signature(blocking)


def test_what_a_server_tells_is_told_in_the_loops_thread(samples: Path) -> None:
    threads, refused = set[int](), list[str]()

    def on_refused(what: udpft.Refused) -> None:
        threads.add(threading.get_ident())
        refused.append(what.name)

    async def main() -> None:
        async with aio.serve(samples, port=0, on_refused=on_refused) as server:
            with pytest.raises(NoSuchFile):
                await aio.get("missing", server=server)

    run(main)
    assert (refused, threads) == (["missing"], {threading.get_ident()})


def test_a_tree_is_awaited_with_all_its_options(tmp_path: Path) -> None:
    (tmp_path / "served/t").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "served/t" / name).touch()

    async def main() -> udpft.Result:
        async with aio.serve(tmp_path / "served", port=0) as server:
            out = tmp_path / "out"
            return await aio.get("t", server=server, output=out, recursive=True, exclude=["b"])

    assert run(main).files == 1


# -------------------------------------------------------------------------------------- a client


def test_all_requests_of_a_client_can_be_awaited(tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    stored.mkdir()
    (tmp_path / "up").write_bytes(sample(4096))

    async def main() -> None:
        async with (
            aio.serve(stored, port=0, writable=True) as server,
            aio.connect(server.address) as client,
        ):
            assert str(client.server) == server.address
            assert await client.ping() > 0
            assert (await client.store(tmp_path / "up", "tree/leaf")).verified
            assert await client.is_one_file("tree/leaf")
            assert [entry.path for entry in await client.list_files()] == ["tree"]
            results = await asyncio.gather(
                client.fetch("tree/leaf", tmp_path / "one"),
                client.fetch_plain("tree/leaf", tmp_path / "two"),
                client.fetch_tree("tree", tmp_path / "three"),
                client.store_tree(stored / "tree", "copy"),
            )
            assert all(result.cpu_seconds > 0 for result in results)

    run(main)
    for path in ("one", "two", "three/tree/leaf", "stored/copy/leaf"):
        assert (tmp_path / path).read_bytes() == sample(4096)


def test_a_cancelled_request_ends_no_other(samples: Path, tmp_path: Path) -> None:
    async def main() -> udpft.Result:
        halfway = Halfway()
        async with (
            aio.serve(samples, port=0, max_rate=SLOW) as server,
            aio.connect(server.address) as client,
        ):
            first = asyncio.create_task(
                client.fetch(str(LARGE), tmp_path / "out", progress=halfway)
            )
            second = asyncio.create_task(client.ping())
            await halfway.reached.wait()
            assert not second.done()  # it waits for its turn
            await cancelled(first)
            assert await second > 0
            resumed: list[tuple[int, int]] = []
            result = await client.fetch(
                str(LARGE), tmp_path / "out", on_resume=lambda *now: resumed.append(now)
            )
            assert resumed == [(result.resumed_bytes, LARGE)]
            return result

    assert run(main).resumed_bytes > 0
    assert (tmp_path / "out").read_bytes() == sample(LARGE)


def test_what_a_callback_raises_ends_its_request_only(samples: Path, tmp_path: Path) -> None:
    def fail(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with aio.serve(samples, port=0) as server, aio.connect(server.address) as client:
            with pytest.raises(ZeroDivisionError):
                await client.fetch("4096", tmp_path / "out", progress=fail)
            assert await client.ping() > 0

    run(main)


def test_a_stop_of_ones_own_ends_all_requests(samples: Path) -> None:
    async def main() -> None:
        stop = udpft.Stop()
        async with (
            aio.serve(samples, port=0) as server,
            aio.connect(server.address, stop=stop) as client,
        ):
            assert await client.ping() > 0
            stop.set()
            for _ in range(2):
                with pytest.raises(Stopped):
                    await client.ping()

    run(main)


def test_a_client_may_be_awaited_and_closed_by_hand(samples: Path) -> None:
    async def main() -> None:
        async with aio.serve(samples, port=0) as server:
            client = await aio.connect(server.address)
            assert await client.ping() > 0
            await client.close()
            with pytest.raises(UsageError, match="closed"):
                await client.ping()

    run(main)


def test_a_client_of_no_host() -> None:
    async def main() -> None:
        with pytest.raises(HostNotFound):
            async with aio.connect("no.invalid"):
                raise AssertionError("it was made")

    run(main)


def test_errors_pass_unchanged(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(NoSuchFile, match="'4095'") as caught:
        run(lambda: aio.get("4095", server=server.address, output=tmp_path))
    assert caught.value.hint == "did you mean '4096'?"
    with pytest.raises(UsageError):
        run(lambda: aio.get("x", server="a b"))

    async def serve_nothing() -> None:
        async with aio.serve(tmp_path / "missing", port=0):
            pytest.fail("that folder is not there")

    with pytest.raises(UdpftError):
        run(serve_nothing)


# -------------------------------------------------------------------------------------- callbacks


def test_callbacks_are_called_in_the_loops_thread(samples: Path, tmp_path: Path) -> None:
    threads: set[int] = set()
    told: list[tuple[int, int]] = []
    found: set[str] = set()
    who = contextvars.ContextVar("who", default="nobody")

    def progress(done: int, total: int) -> None:
        threads.add(threading.get_ident())
        found.add(who.get())
        told.append((done, total))

    async def main() -> None:
        who.set("the caller")
        async with aio.serve(
            samples,
            port=0,
            max_rate=20_000_000,
            on_served=lambda _: threads.add(threading.get_ident()),
        ) as server:
            await aio.get(
                str(LARGE), server=server.address, output=tmp_path / "out", progress=progress
            )
            assert told[-1] == (LARGE, LARGE)  # all were called before the end

    run(main)
    assert threads == {threading.get_ident()}
    assert found == {"the caller"}
    assert told == sorted(told)
    assert len(told) > 1


def test_what_a_callback_raises_ends_the_transfer(samples: Path, tmp_path: Path) -> None:
    def progress(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with aio.serve(samples, port=0, max_rate=SLOW) as server:
            with pytest.raises(ZeroDivisionError):
                await aio.get(
                    str(LARGE), server=server.address, output=tmp_path / "out", progress=progress
                )

    run(main)
    assert names(tmp_path) == [".out.udpft-part"]


def test_what_the_last_callback_raises_is_raised(server: RunningServer, tmp_path: Path) -> None:
    def progress(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(lambda: aio.get("1", server=server.address, output=tmp_path / "out", progress=progress))
    assert names(tmp_path) == ["out"]


# ----------------------------------------------------------------------------------- cancellation


def test_a_cancelled_get_tells_the_server_and_leaves_a_part_to_go_on_with(
    samples: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    async def main() -> None:
        over = asyncio.Event()
        served: list[Served] = []

        def on_served(one: Served) -> None:
            served.append(one)
            over.set()

        async with aio.serve(samples, port=0, max_rate=SLOW, on_served=on_served) as server:
            halfway = Halfway()
            task = asyncio.create_task(
                aio.get(str(LARGE), server=server.address, output=out, progress=halfway)
            )
            await halfway.reached.wait()
            await cancelled(task)
            told = len(halfway.told)
            assert names(tmp_path) == [".out.udpft-part"]
            assert not [one for one in threading.enumerate() if one.name == "udpft-aio"]
            await over.wait()  # long before its time-out
            assert isinstance(served[0].error, PartialTransfer)
            assert "gave up" in str(served[0].error)
            result = await aio.get(str(LARGE), server=server.address, output=out)
            assert result.resumed_bytes >= max(halfway.told)
            assert len(halfway.told) == told  # nothing is told of a transfer that was cancelled

    run(main)
    assert out.read_bytes() == sample(LARGE)
    assert names(tmp_path) == ["out"]


def test_a_cancelled_put_is_gone_on_with(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "file").write_bytes(sample(LARGE))

    async def main() -> None:
        async with aio.serve(there, port=0, writable=True) as server:
            halfway = Halfway()
            task = asyncio.create_task(
                aio.put(
                    tmp_path / "file",
                    server=server.address,
                    limit_rate=SLOW,
                    progress=halfway,
                )
            )
            await halfway.reached.wait()
            await cancelled(task)
            result = await aio.put(tmp_path / "file", server=server.address)
            assert 0 < result.resumed_bytes < LARGE

    run(main)
    assert (there / "file").read_bytes() == sample(LARGE)


def test_a_time_limit_of_asyncio_works(samples: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.serve(samples, port=0, max_rate=SLOW) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await aio.get(str(LARGE), server=server.address, output=tmp_path / "out")

    run(main)
    assert not (tmp_path / "out").exists()


def test_cancelled_again_and_again(samples: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.serve(samples, port=0, max_rate=SLOW) as server:
            halfway = Halfway(0.1)
            task = asyncio.create_task(
                aio.get(
                    str(LARGE), server=server.address, output=tmp_path / "out", progress=halfway
                )
            )
            await halfway.reached.wait()
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled()

    run(main)
    assert names(tmp_path) == [".out.udpft-part"]


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_waiting_for_an_answer_is_cancelled(stranger: Any, tmp_path: Path, mode: Any) -> None:
    async def main() -> None:
        task = asyncio.create_task(
            aio.get(
                "x", server=address_of(stranger), mode=mode, output=tmp_path, connect_timeout=1_000
            )
        )
        await asyncio.to_thread(stranger.recv, 65_536)  # it has asked
        await cancelled(task)

    run(main)
    assert names(tmp_path) == []


def test_a_ping_is_cancelled(stranger: Any) -> None:
    async def main() -> None:
        task = asyncio.create_task(aio.ping(address_of(stranger), connect_timeout=1_000))
        await asyncio.to_thread(stranger.recv, 65_536)
        await cancelled(task)

    run(main)


def test_waiting_for_a_busy_server_is_cancelled(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = threading.Event()
    real = udpft.Stop.sleep

    def sleep(stop: udpft.Stop, _seconds: float) -> None:
        pauses.set()
        real(stop, 1_000)

    monkeypatch.setattr(udpft.Stop, "sleep", sleep)
    with udpft.serve(samples, port=0, max_clients=1) as server:
        held = HeldTransfer(server, "1")

        async def main() -> None:
            task = asyncio.create_task(
                aio.get("2048", server=server.address, output=tmp_path, connect_timeout=1_000)
            )
            assert await asyncio.to_thread(pauses.wait, PATIENCE_S)
            await cancelled(task)

        run(main)
        held.end()
    assert names(tmp_path) == []


def test_a_loop_that_ends_takes_its_transfers_along(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, port=0, max_rate=SLOW) as server:

        async def main() -> None:
            halfway = Halfway()
            task = asyncio.create_task(
                aio.get(
                    str(LARGE), server=server.address, output=tmp_path / "out", progress=halfway
                )
            )
            await halfway.reached.wait()
            assert not task.done()

        run(main)
        assert not [one for one in threading.enumerate() if one.name == "udpft-aio"]
        assert names(tmp_path) == [".out.udpft-part"]


# ------------------------------------------------------------------------------------- the server


def test_a_server_ends_with_its_block_and_may_be_stopped_before(samples: Path) -> None:
    async def main() -> None:
        async with aio.serve(samples, port=0) as server:
            await server.stop()
            with pytest.raises(PortClosed):
                await aio.ping(server.address)
            await server.stop()
        with pytest.raises(ZeroDivisionError):
            async with aio.serve(samples, port=0) as server:
                raise ZeroDivisionError
        with pytest.raises(PortClosed):
            await aio.ping(server.address)

    run(main)


def test_a_server_whose_end_is_cancelled_cuts_transfers_off(samples: Path) -> None:
    async def main() -> None:
        served: list[Served] = []
        async with aio.serve(samples, port=0, on_served=served.append) as server:
            HeldTransfer(Address(server.host, server.port), "4096")
            task = asyncio.create_task(server.stop(drain=1_000))
            await asyncio.sleep(0)
            await cancelled(task)
        assert isinstance(served[0].error, PartialTransfer)

    began = time.monotonic()
    run(main)
    assert time.monotonic() - began < PATIENCE_S
