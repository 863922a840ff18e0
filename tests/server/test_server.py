"""Server on loopback: many clients, failures that stay one transfer's own, its end."""

from __future__ import annotations

import errno
import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

import udpft
from tests.cli.processes import Server as Process
from tests.faults import failing_below
from tests.ipv6 import needs_ipv6
from tests.loopback import HeldTransfer
from tests.samples import LARGE, PATIENCE_S, sample
from tests.storage.conftest import names
from udpft.api import RunningServer, connect
from udpft.errors import (
    HostNotFound,
    LocalReadFailed,
    NoSuchFile,
    PartialTransfer,
    ServerBusy,
    TimedOut,
    UdpftError,
    UsageError,
)
from udpft.net.address import Address
from udpft.net.udp import UdpSocket
from udpft.outcome.served import Served
from udpft.protocol.contract import Transmit
from udpft.protocol.server.admission import MAX_SESSIONS_A_HOST
from udpft.protocol.server.listener import AddressedTransmit
from udpft.server import access
from udpft.server.server import Server
from udpft.storage.served_folder import ServedRoot

# ------------------------------------------------------------------------------------ many clients


def test_many_clients_at_once_each_get_their_own(tmp_path: Path) -> None:
    clients = 20
    files = tmp_path / "files"
    files.mkdir()
    random = Random(1)
    contents = {f"file {n}": random.randbytes(random.randrange(1_000_000)) for n in range(clients)}
    for name, content in contents.items():
        (files / name).write_bytes(content)
    served: list[Served] = []

    with udpft.serve(files, port=0, on_served=served.append) as server:

        def fetch(name: str) -> bytes:
            udpft.get(name, server=server.address, output=tmp_path / name, connect_timeout=20)
            return (tmp_path / name).read_bytes()

        with ThreadPoolExecutor(clients) as pool:
            arrived = dict(zip(contents, pool.map(fetch, contents), strict=True))
    assert arrived == contents
    assert sorted(one.name for one in served) == sorted(contents)
    assert all(one.error is None and one.verified for one in served)


def test_what_is_told_of_a_transfer(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []
    with udpft.serve(samples, port=0, on_served=served.append) as server:
        udpft.get("4096", server=server.address, output=tmp_path)
        udpft.get("4096", server=server.address, output=tmp_path)
    whole, up_to_date = served
    assert (whole.name, whole.mode, whole.bytes, whole.verified) == ("4096", "reliable", 4096, True)
    assert whole.peer.startswith("127.0.0.1:")
    assert whole.bytes_sent > 4096 > up_to_date.bytes_sent
    assert whole.rate_bytes_per_s == 4096 / whole.seconds
    assert up_to_date.rate_bytes_per_s == up_to_date.bytes_sent / up_to_date.seconds


# --------------------------------------------------------------------------- failures, each alone


def wait_for(served: Queue[Served], name: str) -> Served:
    while (one := served.get(timeout=PATIENCE_S)).name != name:
        pass
    return one


def test_a_disk_that_fails_ends_one_transfer(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, served = tmp_path / "files", Queue[Served]()
    files.mkdir()
    (files / "broken").write_bytes(bytes(9000))
    (files / "whole").symlink_to(samples / "1")
    monkeypatch.setattr(os, "preadv", failing_below("preadv", files))
    with udpft.serve(files, port=0, on_served=served.put) as server:
        with pytest.raises(PartialTransfer, match="Input/output error"):
            udpft.get("broken", server=server.address, output=tmp_path)
        error = wait_for(served, "broken").error
        assert isinstance(error, LocalReadFailed)
        assert udpft.ping(server.address) > 0
    assert names(tmp_path) == ["files"]


def test_a_file_that_becomes_shorter_or_changes_ends_one_transfer(tmp_path: Path) -> None:
    served = Queue[Served]()
    path = tmp_path / "changing"

    def shorten(_done: int, _total: int) -> None:
        os.truncate(path, 100)

    def write(_done: int, _total: int) -> None:
        with path.open("r+b") as file:
            file.write(b"another beginning")

    with udpft.serve(tmp_path, port=0, max_rate=4_000_000, on_served=served.put) as server:
        for change, why in ((shorten, "shorter"), (write, "changed")):
            path.write_bytes(sample(LARGE)[:2_000_000])
            with pytest.raises(UdpftError, match=why) as caught:
                udpft.get(
                    "changing", server=server.address, output=tmp_path / "out", progress=change
                )
            assert caught.value.exit_code == udpft.errors.ExitCode.PARTIAL
            assert why in str(wait_for(served, "changing").error)
        assert udpft.ping(server.address) > 0
    assert names(tmp_path) == [".out.udpft-part", "changing"]


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EACCES, errno.ENODEV])
def test_no_way_to_one_client_is_no_concern_of_the_others(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # Routes that go away take a network; here, its answer for one client of many.
    send = UdpSocket.send
    cut_off: set[int] = set()

    def sometimes(self: UdpSocket, transmit: Transmit, address: Any = None) -> Transmit | None:
        if address is not None and address[1] in cut_off:
            raise OSError(code, os.strerror(code))
        return send(self, transmit, address)

    monkeypatch.setattr(UdpSocket, "send", sometimes)
    served = Queue[Served]()
    with udpft.serve(samples, port=0, timeout=0.5, on_served=served.put) as server:
        held = HeldTransfer(server, str(LARGE))
        cut_off.add(held.port)
        udpft.get(str(LARGE), server=server.address, output=tmp_path)
        assert wait_for(served, str(LARGE)).error is None
        assert isinstance(wait_for(served, str(LARGE)).error, TimedOut)
    assert (tmp_path / str(LARGE)).read_bytes() == sample(LARGE)


def test_a_client_that_says_nothing_more_is_dropped(samples: Path) -> None:
    served = Queue[Served]()
    with udpft.serve(samples, port=0, timeout=0.3, on_served=served.put) as server:
        HeldTransfer(server, str(LARGE))
        one = served.get(timeout=PATIENCE_S)
    assert isinstance(one.error, TimedOut)
    assert not one.verified


def test_a_file_system_that_fails_at_opening(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with udpft.serve(samples, port=0) as server:
        with monkeypatch.context() as patch:
            patch.setattr(ServedRoot, "open_at", stale)
            with pytest.raises(PartialTransfer, match="Stale"):
                udpft.get("1", server=server.address, output=tmp_path)
        udpft.get("1", server=server.address, output=tmp_path)


def test_all_descriptors_in_use_is_busy(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with (
        udpft.serve(samples, port=0) as server,
        connect(server.address, connect_timeout=0.3) as client,
    ):
        with monkeypatch.context() as patch:
            patch.setattr("udpft.storage.served_folder.openat2", exhausted)
            patch.setattr("udpft.storage.served_folder._walk", exhausted)
            with pytest.raises(ServerBusy, match="too many files open"):
                client.fetch("1", tmp_path / "out")
        client.fetch("1", tmp_path / "out")


def test_a_process_without_a_descriptor_left_says_that_it_is_busy_and_goes_on(
    samples: Path, tmp_path: Path
) -> None:
    with Process("serve", str(samples)) as server:
        pid = server.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        room = len(os.listdir(f"/proc/{pid}/fd")) + 4
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (room, hard))
        held: list[HeldTransfer] = []

        def fill() -> None:
            while len(held) <= room:
                client.fetch("1", tmp_path / "out", force=True)
                held.append(HeldTransfer(Address("127.0.0.1", server.port), str(LARGE)))

        with (
            connect(server.address, connect_timeout=0.3) as client,
            pytest.raises(ServerBusy, match="too many files open"),
        ):
            fill()
        for one in held:
            one.end()
        udpft.get("4096", server=server.address, output=tmp_path)
        assert server.stop() == 0


def test_a_socket_that_fails_for_a_moment(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = UdpSocket.receive
    failures = [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) for _ in range(3)]

    def at_first_not(self: UdpSocket) -> Any:
        if self.address[1] == server.port and failures:
            raise failures.pop()
        return receive(self)

    monkeypatch.setattr(UdpSocket, "receive", at_first_not)
    udpft.get("4096", server=server.address, output=tmp_path)
    assert not failures


# ------------------------------------------------------------------------------------------- hints


def test_a_name_unlike_all_others_gets_no_hint(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").touch()
    with udpft.serve(tmp_path, port=0) as server, connect(server.address) as client:
        with pytest.raises(NoSuchFile) as caught:
            client.fetch("hello", tmp_path / "out")
        assert caught.value.hint == "did you mean 'hello.txt'?"
        with pytest.raises(NoSuchFile) as caught:
            client.fetch("quite another one", tmp_path / "out")
        assert caught.value.hint == ""


# ------------------------------------------------------------------------------ who may be answered


def test_an_outsider_may_have_a_few_transfers_at_once(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "is_private", lambda _: False)
    with (
        udpft.serve(samples, port=0, insecure_public=True) as server,
        connect(server.address, connect_timeout=0.3) as client,
    ):
        held = [HeldTransfer(server, str(LARGE)) for _ in range(MAX_SESSIONS_A_HOST)]
        with pytest.raises(ServerBusy, match="to this host"):
            client.fetch("1", tmp_path / "out")
        held[0].end()
        client.fetch("1", tmp_path / "out")


@pytest.mark.parametrize("public", [False, True])
def test_outsiders_get_silence_unless_it_is_wished_otherwise(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: bool
) -> None:
    monkeypatch.setattr(access, "is_private", lambda _: False)
    with udpft.serve(samples, port=0, insecure_public=public) as server:
        if public:
            udpft.get("1", server=server.address, output=tmp_path)
        else:
            with pytest.raises(TimedOut):
                udpft.ping(server.address, connect_timeout=0.2)


@needs_ipv6
def test_ipv6_and_ipv4_on_one_socket(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, host="::", port=0) as server:
        for host in ("127.0.0.1", "[::1]"):
            for mode in ("reliable", "plain"):
                result = udpft.get(
                    "2049",
                    server=f"{host}:{server.port}",
                    output=tmp_path,
                    mode=mode,
                    force=True,
                )
                assert result.path.read_bytes() == sample(2049)


# ------------------------------------------------------------------------------- begin, and end


def test_folders_that_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalReadFailed, match="there is no folder"):
        udpft.serve(tmp_path / "missing", port=0)
    with pytest.raises(LocalReadFailed, match="is not a folder"):
        udpft.serve(tmp_path / "file", port=0)


def test_addresses_that_cannot_be_bound(server: RunningServer, samples: Path) -> None:
    for host, port, why, hint in (
        ("127.0.0.1", server.port, "Address already in use", "--port"),
        ("192.0.2.1", 0, "Cannot assign requested address", "--host"),
    ):
        with pytest.raises(UsageError, match=f"cannot bind {host}:{port}: {why}") as caught:
            udpft.serve(samples, host=host, port=port)
        assert hint in caught.value.hint
    with pytest.raises(HostNotFound):
        udpft.serve(samples, host="no.invalid", port=0)
    with pytest.raises(UsageError, match="above 0"):
        udpft.serve(samples, port=0, plain_rate=0)
    assert udpft.ping(server.address) > 0


def test_stopping_it_lets_transfers_end_and_no_new_ones_begin(
    samples: Path, tmp_path: Path
) -> None:
    refused: list[UdpftError] = []

    with Server(samples, port=0, max_rate=10_000_000) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.run)
        address = f"127.0.0.1:{server.port}"

        def stop_and_ask(_done: int, _total: int) -> None:
            if not refused:
                server.stop()
                with pytest.raises(ServerBusy, match="the server is stopping") as caught:
                    udpft.get("1", server=address, output=tmp_path, connect_timeout=0.3)
                refused.append(caught.value)

        udpft.get(str(LARGE), server=address, output=tmp_path / "out", progress=stop_and_ask)
        running.result(PATIENCE_S)
    assert refused
    assert (tmp_path / "out").read_bytes() == sample(LARGE)


def test_a_stopped_server_frees_its_port(samples: Path) -> None:
    with udpft.serve(samples, port=0) as server:
        port = server.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
    server.stop()  # a second time does no harm


def test_a_turn_begins_no_burst_when_those_before_took_their_time(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, sent = 100.0, list[float]()

    def slow(_now: float) -> AddressedTransmit:
        nonlocal now
        now += 0.006  # as one of 256 files does
        sent.append(now)
        return AddressedTransmit(Transmit(memoryview(b"x"), 1), ("127.0.0.1", 9))

    with Server(samples, port=0) as server:
        monkeypatch.setattr("udpft.server.server.clock", lambda: now)
        monkeypatch.setattr(server, "_listener", SimpleNamespace(poll_transmit=slow))
        monkeypatch.setattr(server, "_send", lambda _: None)
        assert server._transmit(now)
        monkeypatch.undo()
    assert len(sent) == 2
