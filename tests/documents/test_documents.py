"""Claims of the documents, checked: wire bytes, a session, exit codes, imports, links."""

from __future__ import annotations

import importlib
import re
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import click
import pytest
from xxhash import xxh3_64_digest, xxh3_128_digest

import udpft
from tests.cli.processes import Server, run_udpft
from tests.documents import architecture_page
from tests.test_structure import PACKAGE
from udpft.cli.app import cli
from udpft.cli.commands import bench
from udpft.cli.commands.doctor import lines_of
from udpft.diagnosis import doctor, speed
from udpft.diagnosis.speed import Row
from udpft.errors import ExitCode
from udpft.net.kernel import Device
from udpft.outcome.result import Result
from udpft.protocol import params
from udpft.protocol.client.download import Download
from udpft.protocol.contract import Batch, OpenedSink, Verified
from udpft.protocol.handshake.initiator import HandshakeOptions
from udpft.protocol.recovery.packet_numbers import FIRST_SKIP, MAX_SKIP_DISTANCE
from udpft.protocol.server.listener import Listener
from udpft.protocol.server.session_creation import Entropy
from udpft.protocol.wire import packet as packets
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted
from udpft.protocol.wire.data import BurstReader, BurstWriter, data_common
from udpft.protocol.wire.error import (
    ERROR_TYPES,
    ErrorCode,
    Refusal,
    decode_error_untrusted,
    encode_error,
)
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted
from udpft.protocol.wire.hello import Hello, decode_hello_untrusted
from udpft.protocol.wire.packet import Packet, PacketType
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted
from udpft.testing.network import MemorySink, MemorySource, random_bytes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or a higher one."""
    begin = page.index(f"\n{heading}\n") + len(heading) + 2
    level = heading.index(" ")
    end = re.search(rf"^#{{1,{level}}} ", page[begin:], re.MULTILINE)
    return page[begin : begin + end.start()] if end else page[begin:]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without their headings and without backticks."""
    lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    tables = [[cell.strip().replace("`", "") for cell in line.split("|")] for line in lines]
    headings = {at - 1 for at, row in enumerate(tables) if set("".join(row)) == {"-"}}
    return [row for at, row in enumerate(tables) if at not in headings | {h + 1 for h in headings}]


# --------------------------------------------------------------------------- the bytes of a packet

CONTENT = b"Hello over UDP.\n"
NONCE, CLIENT_ID, SERVER_ID = 0x1122334455667788, 0xC0FFEE01, 0x5EA51DE5
MTIME_NS, IDENTITY = 1_700_000_000_000_000_000, 0x1D1D1D1D1D1D1D1D
REFUSAL = Refusal(
    NONCE, ErrorCode.NOT_FOUND, "no such file on the server\ndid you mean 'hello.txt'?"
)


def conversation() -> list[bytes]:
    """The datagrams of a small file's transfer, each once, in order. The clock stands still."""
    source = MemorySource(CONTENT)
    source.mtime_ns, source.identity = MTIME_NS, IDENTITY
    listener = Listener(
        open_source=lambda *_: source,
        entropy=Entropy(bytes(range(32)), lambda: SERVER_ID, Random(0)),
    )
    download = Download(
        Hello(NONCE, CLIENT_ID, b"hello.txt", 2048, 200_000),
        open_sink=lambda _: OpenedSink(MemorySink(len(CONTENT))),
        receive_queue=lambda: (200_000, 0),
        now=0.0,
        options=HandshakeOptions(sizes=(1200,)),
    )

    def say(end: Download | Listener) -> Iterator[bytes]:
        while transmit := end.poll_transmit(0.0):
            yield bytes(getattr(transmit, "transmit", transmit).data)

    said: list[bytes] = []
    heard: list[bytes] = []
    while not (ended := listener.poll_outcome()):
        for datagram in [*say(download), *heard]:
            said.append(datagram)
            listener.handle_datagrams(Batch.of(datagram, "client"), 0.0)
        heard = []
        for datagram in list(say(listener)):
            said.append(datagram)
            download.handle_datagrams(Batch.of(datagram), 0.0)
            heard += say(download)
            if isinstance(download.poll_event(), Verified):
                assert download.receiver
                download.receiver.confirm()
                heard += say(download)
    assert ended.error is None
    return list(dict.fromkeys(said))


def read_dump(block: str) -> tuple[dict[int, int], bytes]:
    """A dump of the page: where its lines begin and how long they are, and its bytes."""
    title, *lines = block.splitlines()
    places: dict[int, int] = {}
    content = b""
    for line in lines:
        match = re.fullmatch(r" *(\d+)  (00 × (\d+)|(?:[0-9a-f]{2} ?)+)(?: +\D.*)?", line)
        assert match, line
        offset, text, zeros = match.groups()
        assert int(offset) == len(content), line
        piece = bytes(int(zeros)) if zeros else bytes.fromhex(text)
        places[len(content)] = len(piece)
        content += piece
    assert title.startswith(f"{PacketType(content[0]).name}, ")
    assert title.endswith(f", {len(content)} bytes")
    return places, content


EXAMPLE = blocks(section(PROTOCOL, "### A worked example"), "hex")


def test_the_example_is_what_both_ends_say() -> None:
    *transfer, refusal = [read_dump(block)[1] for block in EXAMPLE]
    assert transfer == conversation()
    assert refusal == encode_error(REFUSAL, CLIENT_ID)


def test_the_example_reads_as_it_says() -> None:
    shown = [read_dump(block)[1] for block in EXAMPLE]

    def control(at: int) -> Packet:
        return packets.decode_untrusted(memoryview(shown[at]), NONCE)

    retry = decode_retry_untrusted(control(1))
    fin = Fin(16, bytes.fromhex("9971eb1c3b12ede38249f96e1204d927"))
    first, second = (decode_hello_untrusted(control(at)) for at in (0, 2))
    assert first == Hello(NONCE, CLIENT_ID, b"hello.txt", 2048, 200_000)
    assert (second.cookie, second.attempt) == (retry.cookie, 1)
    assert retry == Retry(NONCE, retry.cookie, 1200, 1, attempt=0)
    accept = Accept(NONCE, SERVER_ID, 1176, 16, MTIME_NS, IDENTITY)
    assert decode_accept_untrusted(control(3)) == accept
    batch = BurstReader(CLIENT_ID, 1176, NONCE).read_untrusted(Batch.of(shown[4]))
    assert [bytes(slot) for burst in batch.bursts for slot in burst.slots] == [CONTENT]
    assert decode_fin_untrusted(control(5)) == decode_fin_untrusted(control(7)) == fin
    assert decode_ack_untrusted(control(6)) == Ack(0.0, 200_000, 1, 0, [(0, 1)])
    assert decode_error_untrusted(control(8)) == REFUSAL


LAYOUTS = ["HELLO", "RETRY", "ACCEPT", "DATA", "ACK", "FIN and FIN_ACK", "ERROR"]


@pytest.mark.parametrize("heading", ["What every packet begins with", *LAYOUTS])
def test_fields_lie_where_their_table_says(heading: str) -> None:
    names = re.findall("[A-Z_]{3,}", heading) or set(PacketType.__members__) - {"DATA"}
    layout = [row for row in rows(section(PROTOCOL, f"### {heading}")) if len(row) == 4]
    layout = [row for row in layout if not row[1].isupper() and row[3] != "body"]
    assert layout
    for block in EXAMPLE:
        if block.partition(",")[0] in names:
            places, _ = read_dump(block)
            for offset, size, _type, field in layout:
                assert int(offset) in places, field
                assert not size or places[int(offset)] == int(size), field


def test_packet_types_and_error_codes_are_all_there() -> None:
    types = {row[1]: row[0] for row in rows(PROTOCOL) if row[0].startswith("0x8") and len(row) == 3}
    assert types == {type_.name: f"{type_:#x}" for type_ in PacketType}
    codes = [row for row in rows(section(PROTOCOL, "### ERROR")) if row[1].isupper()]
    assert [(code, name, int(exit_)) for code, name, _, exit_ in codes] == [
        (str(int(code)), code.name, ERROR_TYPES[code].exit_code) for code in ErrorCode
    ]


def test_numbers_are_those_of_the_code() -> None:
    numbers = rows(section(PROTOCOL, "### Numbers"))
    assert len(numbers) > 20
    for name, value, _ in numbers:
        assert float(value) == getattr(params, name), name
    sizes = re.search(r"those\s+of ([\d, ]+) and\s+(\d+) bytes", section(PROTOCOL, "### HELLO"))
    assert sizes
    assert (*map(int, sizes[1].split(",")), int(sizes[2])) == params.PROBE_SIZES


def test_skipped_packet_numbers_are_as_far_apart_as_it_says() -> None:
    nearest, farthest = FIRST_SKIP // 2, FIRST_SKIP // 2 + FIRST_SKIP - 1
    text = " ".join(PROTOCOL.split())
    assert f"the first after {nearest} to {farthest} packets" in text
    assert f"at distances that double, up to {MAX_SKIP_DISTANCE:,} on average" in text


def test_hashes_are_as_shown() -> None:
    shown = {row[0]: row[1] for row in rows(section(PROTOCOL, "### A worked example"))}
    writer = BurstWriter(64, bytearray(params.MAX_BURST_BYTES), NONCE)
    slots = writer.slots(1, len(CONTENT))
    slots[0][:] = CONTENT
    packet, hash_ = writer.seal(data_common(1), data_common(1), 7, range(3, 4), slots)
    assert list(shown.values()) == [
        value.hex(" ")
        for value in (
            xxh3_64_digest(b""),
            hash_,
            bytes(packet[16:24]),
            xxh3_128_digest(xxh3_64_digest(b"")),
            xxh3_128_digest(hash_),
        )
    ]


# ------------------------------------------------------------------------------ the clients shown


class Lossy(socket.socket):
    """A socket that loses a fifth of all datagrams, each way, by a seed."""

    chance = Random(5)

    def send(self, data: Any, flags: int = 0) -> int:
        return len(data) if self.chance.random() < 0.2 else super().send(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        while True:
            datagram = super().recv(size, flags)
            if self.chance.random() >= 0.2:
                return datagram


def client_of(heading: str, function: str, socket_class: type = socket.socket) -> Any:
    """A client as the page shows it, ready to be called with a name and an address."""
    [code] = blocks(section(PROTOCOL, heading), "python")
    shown: dict[str, Any] = {}
    exec(compile(code, "docs/protocol.md", "exec"), shown)
    shown["socket"] = SimpleNamespace(
        socket=socket_class, AF_INET=socket.AF_INET, SOCK_DGRAM=socket.SOCK_DGRAM
    )
    return shown[function]


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, 4096, 20_000])
def test_the_plain_client_shown_gets_the_file(tmp_path: Path, size: int) -> None:
    content = random_bytes(size)
    (tmp_path / "file").write_bytes(content)
    with udpft.serve(tmp_path, port=0) as server:
        get = client_of("## Plain", "get_plain")
        assert get("file", (server.host, server.port)) == content


@pytest.mark.parametrize("size", [0, 1, 1176, 1177, 100_003])
def test_the_reliable_client_shown_gets_the_file(tmp_path: Path, size: int) -> None:
    content = random_bytes(size)
    (tmp_path / "file").write_bytes(content)
    served: list[udpft.Served] = []
    with udpft.serve(tmp_path, port=0, on_served=served.append) as server:
        get = client_of("### A client in sixty lines", "get")
        assert get(b"file", (server.host, server.port)) == content
        with pytest.raises(OSError, match="no such file on the server"):
            get(b"another", (server.host, server.port))
    assert [transfer.verified for transfer in served] == [True]


def test_the_reliable_client_shown_survives_loss(tmp_path: Path) -> None:
    content = random_bytes(30_000)
    (tmp_path / "file").write_bytes(content)
    served: list[udpft.Served] = []
    with udpft.serve(tmp_path, port=0, on_served=served.append) as server:
        get = client_of("### A client in sixty lines", "get", Lossy)
        assert get(b"file", (server.host, server.port)) == content
    assert served[0].resent_packets > 0


# -------------------------------------------------------------------------------------- the README


def blurred(output: str) -> str:
    """Output without what differs from run to run: times, ports, durations and rates."""
    output = re.sub(r"^  limited by .*\n", "", output, flags=re.MULTILINE)  # on a busy machine
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}", "TIME", output)
    output = re.sub(r"127\.0\.0\.1(:\d+)?", "ADDRESS", output)
    return re.sub(r"[\d.]+ (µs|ms|s|[kMG]?B/s|[kMG]bit/s)\b", "QUANTITY", output)


@pytest.fixture
def folder(here: Path) -> Path:
    """A folder to work in, with something to serve in it."""
    (here / "files").mkdir()
    (here / "files/hello.txt").write_bytes(CONTENT)
    return here


@pytest.mark.usefixtures("folder")
def test_the_session_is_as_shown() -> None:
    serving, getting = blocks(README, "console")
    command, _, shown_log = serving.partition("\n")
    printed, code = "", 0
    with Server(*shlex.split(command.removeprefix("$ udpft "))) as server:
        for line in re.findall(r"^\$ (.*)$", getting, re.MULTILINE):
            printed += f"$ {line}\n"
            if line == "echo $?":
                printed += f"{code}\n"
                continue
            words = shlex.split(line.removeprefix("udpft "))
            finished = run_udpft(*words, variables={"UDPFT_SERVER": server.address})
            printed += finished.stdout + finished.stderr
            code = finished.returncode
        assert blurred(server.log_line()) == blurred(shown_log.splitlines()[1])
    assert blurred(printed) == blurred(getting)


def test_the_doctor_is_as_shown() -> None:
    [shown] = blocks(section(README, "## Why is it slow?"), "text")
    limit = 212_992
    card = Device("eth0", 1500, bridge=False, leads_out=False)
    findings = [
        doctor.judge_buffer("receive buffer", "net.core.rmem_max", limit, limit),
        doctor.judge_buffer("send buffer", "net.core.wmem_max", 1 << 20, 1 << 20),
        doctor.judge_kernel(True, True),
        doctor.judge_device(card),
        doctor.judge_path(1_472, card, ip_version=4),
        doctor.judge_round_trips([0.001_01, 0.001_2, 0.002_4]),
        doctor.judge_loss(20, 0),
        doctor.judge_bursts({"here": False}),
    ]
    lines = [line for finding in findings for line in lines_of(finding, colored=False)]
    assert [line for line in shown.splitlines()[1:] if line != "..."] == lines


def test_the_bench_is_as_shown() -> None:
    [shown] = [text for text in blocks(README, "text") if "udpft bench" in text]

    def row(what: Any, direction: Any, mode: Any, mb: float, us: int, **more: str) -> Row:
        result = Result("big.iso", "", 210_000_000, 210 / mb, "", 0, mode, verified=True)
        return Row(what, direction, mode, (result,), rtt_s=us / 1e6, **more)

    processor, disk = "the processor at this end, busy 97 %", "the disk at this end, 43 %"
    rows = [
        row("memory", "down", "reliable", 1485, 161, limit="the path, or the other end"),
        Row("memory", "down", "plain", missing=speed.NO_MEMORY),
        row("memory", "up", "reliable", 1570, 164, limit=f"{processor} of the time"),
        row("file", "down", "reliable", 820, 133, limit=f"{disk} of the time"),
        row("file", "down", "plain", 9.98, 0, note=speed.PACED),
        Row("file", "up", "reliable", missing=speed.NO_NAME),
    ]
    lines = [bench.HEADING, *map(bench.line_of, rows), *bench.lines_below(rows)]
    assert shown.splitlines()[1:] == lines


def test_the_library_is_as_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = blocks(section(README, "## As a library"), "python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "16 9971eb1c3b12ede38249f96e1204d927 True\n"
    assert (folder / "fetched.txt").read_bytes() == CONTENT


def test_every_exit_code_is_listed() -> None:
    listed = [int(row[0]) for row in rows(section(README, "## Exit codes"))]
    assert listed == [int(code) for code in ExitCode]


def variables_of(command: click.Command, name: str) -> Iterator[tuple[str, str, str]]:
    """Variable, option and command, for each option that a variable sets."""
    for option in command.params:
        if option.envvar:
            names = [option.envvar] if isinstance(option.envvar, str) else option.envvar
            longest = max(option.opts, key=len)
            yield from ((variable, longest, name) for variable in names)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            assert inner
            yield from variables_of(inner, f"{name} {below}".removeprefix("udpft "))


def test_every_variable_is_listed_with_its_commands() -> None:
    listed = {
        (variable, option, command.strip())
        for variable, option, commands in rows(section(README, "## Environment"))
        for command in commands.partition(";")[0].split(",")
    }
    assert listed == set(variables_of(cli, "udpft"))


# ----------------------------------------------------------------------------------- the house


def test_the_map_is_what_the_modules_say() -> None:
    assert architecture_page.PAGE.read_text() == architecture_page.page(), "run `make docs`"


def test_every_module_is_on_the_map() -> None:
    listed = {row[0] for row in rows(section(ARCHITECTURE, "## The house"))}
    empty = {path for path in PACKAGE.rglob("__init__.py") if not path.read_text()}
    assert listed == {str(p.relative_to(PACKAGE)) for p in {*PACKAGE.rglob("*.py")} - empty}


def test_the_way_of_a_chunk_goes_through_functions_that_exist() -> None:
    way = rows(section(ARCHITECTURE, "## The way of a chunk"))
    assert [row[0] for row in way] == [str(step + 1) for step in range(len(way))]
    for _, module, function, _ in way:
        found: Any = importlib.import_module(f"udpft.{module[:-3].replace('/', '.')}")
        for name in function.split("."):
            found = getattr(found, name)
        assert callable(found)


# ----------------------------------------------------------------------------------------- links


def without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What links may name behind a #, as the usual renderers make it from the headings."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = without_blocks(page)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link:
            path, _, fragment = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not fragment or fragment in anchors(target), link
    for path in re.findall(r"`((?:udpft|tests|docs|bench|contrib)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
