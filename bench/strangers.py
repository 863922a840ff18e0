"""Strangers that mean harm, or have a bad day, and what others notice of them at one server.

``python -m bench.strangers`` begins a server on loopback with a folder of many files, and lets one
stranger after the other at it. Meanwhile a patient client pings and another one fetches a file,
whose bytes are compared. The server's memory is looked at before, during and after. ``--only NAME``
chooses strangers; what each does, its function says. A table comes out, and the exit status is 1
where a bound of docs/security.md was passed.

Each stranger is a process of its own (``… be NAME PORT``), which begins and never ends by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import udpft
from udpft.errors import PortClosed, UdpftError
from udpft.protocol.params import DATA_HEADER_SIZE, MAX_BURST_BYTES
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.data import BurstWriter, data_common
from udpft.protocol.wire.hello import REPORT, Hello, Role, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted

MAX_MEDIAN_S = 0.050
MAX_WORST_S = 0.250
MAX_LEFT_BYTES = 10 << 20
"""Bounds: of other clients' pings, and of memory that is left behind."""

HELLO_BYTES = 1_200
_PING_INTERVAL_S = 0.05
_PATIENCE_S = 10.0

FETCHED, LARGE, MANY = "fetched", "large", "many"
"""Names in the served folder: what the others fetch, a file of some GB, a folder of many files."""


class Harm(NamedTuple):
    """Server that a stranger is at: its port, that of its metrics page, and its process."""

    port: int
    metrics_port: int


class Caller:
    """Stranger's socket, with a cookie for its address.

    Args:
        port: of the server.

    Attributes:
        sock: the socket, connected to the server.
    """

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(("127.0.0.1", port))
        self.sock.settimeout(_PATIENCE_S)
        self._nonces = itertools.count(int.from_bytes(os.urandom(6), "little"), 2)
        self._cookie = bytes(16)
        self.ask(Role.GET, "")
        for packet in self.packets():
            if packet.type is PacketType.RETRY:
                self._cookie = decode_retry_untrusted(packet).cookie
                break
        self.sock.settimeout(0.0)

    def ask(self, role: Role, name: str, **fields: Any) -> Hello:
        """Send a HELLO; return it."""
        nonce = next(self._nonces)
        hello = Hello(
            nonce, nonce & 0xFFFF_FFFF, name.encode(), 2048, 1 << 20, role, cookie=self._cookie
        )._replace(**fields)
        with suppress(OSError):  # the server's queue is full, or ours
            self.sock.send(encode_hello(hello, HELLO_BYTES))
        return hello

    def packets(self, nonce: int = 0) -> Iterator[Any]:
        """Iterate over the control packets that come."""
        while True:
            try:
                datagram = self.sock.recv(65_536)
            except OSError:
                return
            with suppress(MalformedPacket):
                yield decode_untrusted(memoryview(datagram), nonce)

    def accepted(self, role: Role, name: str, **fields: Any) -> tuple[Hello, Accept] | None:
        """Ask, and wait for the server's consent; None where there is none."""
        hello = self.ask(role, name, **fields)
        self.sock.settimeout(1.0)
        for packet in self.packets(hello.nonce):
            if packet.type is PacketType.ACCEPT:
                return hello, decode_accept_untrusted(packet)
            if packet.type is PacketType.ERROR:
                break
        return None


Stranger = Callable[[Harm], Iterator[None]]
"""Does harm, one piece at each step; never ends."""


def nobody(_: Harm) -> Iterator[None]:
    """Does nothing: what is measured without a stranger."""
    while True:
        time.sleep(0.1)
        yield


def hellos(harm: Harm) -> Iterator[None]:
    """Sends HELLOs without a cookie, as fast as it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", harm.port))
        for nonce in itertools.count(1):
            hello = Hello(nonce, nonce & 0xFFFF_FFFF, b"fetched", 2048, 1 << 20)
            with suppress(OSError):
                sock.send(encode_hello(hello, HELLO_BYTES))
            yield


def silent_transfers(harm: Harm) -> Iterator[None]:
    """Has its address validated, begins transfers, and says nothing more."""
    caller = Caller(harm.port)
    while True:
        caller.ask(Role.GET, LARGE, receive_room=4096)
        for _ in caller.packets():
            continue
        time.sleep(0.0005)
        yield


def patterns(harm: Harm) -> Iterator[None]:
    """Lists patterns that match nothing among many files, another one each time."""
    caller = Caller(harm.port)
    for number in itertools.count():
        caller.ask(Role.LIST, f"*/*nomatch{number}*", flags=REPORT * (number % 2))
        time.sleep(0.01)
        yield


def whole_listings(harm: Harm) -> Iterator[None]:
    """Fetches whole listings and trees of many files, under ever new names for them."""
    caller = Caller(harm.port)
    for number in itertools.count():
        name = "/".join(["."] * (number % 200) + [MANY, "*"])
        for role in (Role.LIST, Role.TREE):
            caller.ask(role, name, receive_room=4096)
        time.sleep(0.01)
        yield


def has_it_all(harm: Harm) -> Iterator[None]:
    """Says that it has all of a large file, which the server then hashes, and is gone."""
    caller = Caller(harm.port)
    while True:
        caller.ask(Role.GET, LARGE, have=((0, 1 << 40),))
        time.sleep(0.005)
        yield


def missing_names(harm: Harm) -> Iterator[None]:
    """Asks for files that are not there, in a folder where many have names alike."""
    caller = Caller(harm.port)
    for number in itertools.count():
        caller.ask(Role.GET, f"{MANY}/{number % 1000:06}.tx")
        for _ in caller.packets():
            continue
        yield


def places(harm: Harm) -> Iterator[None]:
    """Has places for uploads opened, and comes back for none."""
    caller = Caller(harm.port)
    for number in itertools.count():
        caller.ask(Role.PUT, f"up/{number % 5000}", size=1 << 30, identity=number + 1)
        time.sleep(0.002)
        yield


def listings_brought(harm: Harm) -> Iterator[None]:
    """Announces listings of trees as large as may be, and brings none."""
    caller = Caller(harm.port)
    for number in itertools.count():
        caller.ask(Role.PUT_LIST, f"tree{number}", size=16 << 20, identity=number + 1)
        time.sleep(0.01)
        yield


def holes(harm: Harm) -> Iterator[None]:
    """Brings every other chunk of an upload, as fast as it can."""
    caller = Caller(harm.port)
    while True:
        begun = caller.accepted(
            Role.PUT, f"holes{os.urandom(4).hex()}", size=1 << 30, identity=1, chunk_size=512
        )
        yield
        if begun is None:
            time.sleep(0.2)
            continue
        hello, accept = begun
        common = data_common(accept.connection_id)
        writer = BurstWriter(accept.chunk_size, bytearray(MAX_BURST_BYTES), hello.nonce)
        caller.sock.settimeout(0.0)
        for chunk in range(0, (1 << 30) // accept.chunk_size - 1, 2):
            slots = writer.slots(1, accept.chunk_size)
            data, _ = writer.seal(common, common, chunk // 2, [chunk], slots)
            assert len(data) == accept.chunk_size + DATA_HEADER_SIZE
            with suppress(OSError):
                caller.sock.send(data)
            if chunk % 1024 == 0:
                for _ in caller.packets(hello.nonce):
                    continue
                yield


def one_ack_a_second(harm: Harm) -> Iterator[None]:
    """Begins as many transfers as it may, and keeps each alive with an ACK a second."""
    caller = Caller(harm.port)
    begun: list[tuple[Hello, Accept]] = []
    asked: dict[int, Hello] = {}
    while True:
        for _ in range(20):
            hello = caller.ask(Role.GET, LARGE, receive_room=4096)
            asked[hello.nonce] = hello
        caller.sock.settimeout(0.05)
        for datagram in received(caller.sock):
            for nonce in list(asked):
                with suppress(MalformedPacket):
                    packet = decode_untrusted(memoryview(datagram), nonce)
                    if packet.type is PacketType.ACCEPT:
                        begun.append((asked[nonce], decode_accept_untrusted(packet)))
                    del asked[nonce]
                    break
        for hello, accept in begun:
            ack = Ack(0.0, 4096, 0, 0, [(0, 1)])
            with suppress(OSError):
                caller.sock.send(encode_ack(ack, accept.connection_id, hello.nonce))
        yield


def received(sock: socket.socket) -> Iterator[bytes]:
    """Iterate over what comes, for a moment at most."""
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        try:
            yield sock.recv(65_536)
        except OSError:
            return


def metrics_connections(harm: Harm) -> Iterator[None]:
    """Opens 1,200 connections to the metrics page and is silent on all of them."""
    held: list[socket.socket] = []
    while True:
        if len(held) < 1_200:
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(("127.0.0.1", harm.metrics_port))
            held.append(sock)
            yield
        else:
            time.sleep(0.1)


STRANGERS: dict[str, Stranger] = {
    one.__name__.replace("_", "-"): one
    for one in (
        nobody,
        hellos,
        silent_transfers,
        one_ack_a_second,
        patterns,
        whole_listings,
        has_it_all,
        missing_names,
        places,
        listings_brought,
        holes,
        metrics_connections,
    )
}


def be(name: str, harm: Harm) -> int:
    """Be a stranger until SIGTERM comes; print how many pieces of harm it did."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = 0
    try:
        for _ in STRANGERS[name](harm):
            done += 1
    except KeyboardInterrupt:
        print(done, flush=True)
    return 0


# -------------------------------------------------------------------------------- what is noticed


class Noticed(NamedTuple):
    """What others noticed of a stranger. Seconds and bytes."""

    stranger: str
    done: int
    ping_median_s: float
    ping_worst_s: float
    fetches: int
    fetches_failed: int
    rss_before: int
    rss_most: int
    rss_after: int
    settled_s: float

    def passed(self) -> list[str]:
        """Bounds that were passed."""
        found = []
        if self.ping_median_s > MAX_MEDIAN_S:
            found.append("median")
        if self.ping_worst_s > MAX_WORST_S:
            found.append("worst")
        if self.rss_after - self.rss_before > MAX_LEFT_BYTES:
            found.append("memory")
        if self.fetches_failed or not self.fetches:
            found.append("fetches")
        return found

    def line(self) -> str:
        """Row of the table."""
        rss = " ".join(
            f"{n / 2**20:6.0f}" for n in (self.rss_before, self.rss_most, self.rss_after)
        )
        return (
            f"{self.stranger:20} {self.done:8} {self.ping_median_s * 1e3:7.1f} "
            f"{self.ping_worst_s * 1e3:7.0f} {self.fetches:4}/{self.fetches_failed:<4} {rss} "
            f"{self.settled_s:5.0f}  {' '.join(self.passed()) or 'ok'}"
        )


HEADING = (
    f"{'stranger':20} {'pieces':>8} {'ping ms':>7} {'worst':>7} {'got/bad':>9} "
    f"{'MiB':>6} {'most':>6} {'after':>6} {'s':>5}"
)


class Pinger(threading.Thread):
    """Patient client that pings twenty times a second, each time from a port of its own.

    Args:
        address: of the server.

    Attributes:
        took: seconds that each ping took; `_PATIENCE_S` where none was answered.
        over: set by the owner at the end.
    """

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.took: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Ping until the end."""
        while not self.over.wait(_PING_INTERVAL_S):
            began = time.perf_counter()
            try:
                udpft.ping(self._address, connect_timeout=_PATIENCE_S)
                self.took.append(time.perf_counter() - began)
            except UdpftError:
                self.took.append(_PATIENCE_S)


class Fetcher(threading.Thread):
    """Patient client that fetches a file again and again, and compares it.

    Args:
        address: of the server.
        content: of the file.

    Attributes:
        exact: fetches that brought the file.
        failed: fetches that did not.
        over: set by the owner at the end.
    """

    def __init__(self, address: str, content: bytes) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._content = content
        self.exact = 0
        self.failed = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Fetch until the end; once at least."""
        while not self.over.is_set() or not (self.exact or self.failed):
            try:
                got = udpft.read_bytes(FETCHED, server=self._address, connect_timeout=30)
            except UdpftError as error:
                print(f"  not fetched: {error}", file=sys.stderr)
                self.failed += 1
                continue
            self.exact += got == self._content
            self.failed += got != self._content
            self.over.wait(0.2)


def rss_bytes(pid: int) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def notice(name: str, harm: Harm, pid: int, content: bytes, times: tuple[float, float]) -> Noticed:
    """Let one stranger at a server, and see what others notice.

    Args:
        name: of the stranger.
        harm: the server.
        pid: of its process.
        content: of the file that is fetched meanwhile.
        times: seconds for which the stranger is at it, and to wait at most for the memory.
    """
    address = f"127.0.0.1:{harm.port}"
    seconds, settle_s = times
    udpft.read_bytes(FETCHED, server=address)  # what the first transfer loads is no stranger's
    udpft.list_files(server=address)
    before = most = rss_bytes(pid)
    command = [sys.executable, "-m", "bench.strangers", "be", name, *map(str, harm)]
    stranger = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    others = Pinger(address), Fetcher(address, content)
    try:
        time.sleep(min(0.5, seconds))  # it imports
        for other in others:
            other.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.02)
            most = max(most, rss_bytes(pid))
        for other in others:
            other.over.set()
            other.join()
    finally:
        stranger.send_signal(signal.SIGTERM)
        try:
            done = int(stranger.communicate(timeout=10)[0] or 0)
        except subprocess.TimeoutExpired:
            stranger.kill()
            done = -1
    ended = time.monotonic()
    while rss_bytes(pid) > before + MAX_LEFT_BYTES and time.monotonic() < ended + settle_s:
        time.sleep(0.1)
    pinger, fetcher = others
    return Noticed(
        name,
        done,
        statistics.median(pinger.took or [_PATIENCE_S]),
        max(pinger.took, default=_PATIENCE_S),
        fetcher.exact,
        fetcher.failed,
        before,
        most,
        rss_bytes(pid),
        time.monotonic() - ended,
    )


# ------------------------------------------------------------------------------------- the server


def prepare(folder: Path, files: int, large_bytes: int, content: bytes) -> None:
    """Fill the folder to be served."""
    (folder / FETCHED).write_bytes(content)
    with (folder / LARGE).open("wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(0, large_bytes, len(block)):
            file.write(block)
    (folder / MANY).mkdir()
    for number in range(files):
        (folder / MANY / f"{number:06}.txt").touch()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Harm, int]]:
    """Server of a folder, as a process; and its process id."""
    harm = Harm(*free_ports())
    command = [sys.executable, "-m", "udpft", "serve", str(folder), "--port", str(harm.port)]
    command += ["--writable", "--metrics", f"127.0.0.1:{harm.metrics_port}"]
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, **silence)  # type: ignore[call-overload]
    try:
        await_server(f"127.0.0.1:{harm.port}")
        yield harm, server.pid
        if server.poll() is not None:
            raise SystemExit("bench: the server has ended")
    finally:
        server.kill()
        server.wait()


def await_server(address: str) -> None:
    """Wait until a server answers. Raises UdpftError."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            udpft.ping(address, connect_timeout=_PATIENCE_S)
            return
        except PortClosed:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def free_ports() -> tuple[int, int]:
    """Find a port for UDP and one for TCP that nobody has."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        return udp.getsockname()[1], tcp.getsockname()[1]


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["be"]:
        return be(words[1], Harm(*map(int, words[2:])))
    parser = argparse.ArgumentParser(prog="python -m bench.strangers")
    add = parser.add_argument
    add("--only", action="append", choices=list(STRANGERS), help="may be repeated")
    add("--seconds", type=float, default=10.0, help="for which each is at it (default: 10)")
    add("--settle", type=float, default=60.0, help="seconds to wait for memory (default: 60)")
    add("--files", type=int, default=150_000, help="in the large folder (default: 150000)")
    add("--large", type=int, default=3 << 30, help="bytes of the large file (default: 3 GiB)")
    add("--folder", type=Path, help="where the served folder is made (default: temporary)")
    add("--json", action="store_true", help="a JSON object for each")
    args = parser.parse_args(words)
    content = os.urandom(1 << 20)
    work = Path(tempfile.mkdtemp(prefix="strangers-", dir=args.folder))
    passed = 0
    try:
        prepare(work, args.files, args.large, content)
        if not args.json:
            print(HEADING)
        for name in args.only or STRANGERS:
            with serving(work) as (harm, pid):
                noticed = notice(name, harm, pid, content, (args.seconds, args.settle))
            print(json.dumps(noticed._asdict()) if args.json else noticed.line(), flush=True)
            passed += bool(noticed.passed())
    finally:
        shutil.rmtree(work)
    return min(passed, 1)


if __name__ == "__main__":
    sys.exit(main())
