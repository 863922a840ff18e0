"""Wireshark's dissector: its fields beside those of our decoders, and conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from xxhash import xxh3_64_intdigest

from tests.contrib.capture import (
    CLIENT,
    SERVER,
    Dissected,
    UdpAddress,
    capture,
    dissect,
    needs_tshark,
    tshark,
)
from tests.contrib.random_packets import (
    NONCE,
    random_accept,
    random_ack,
    random_error,
    random_fin,
    random_hello,
    random_retry,
)
from udpft.protocol.contract import Batch, TransferIds, Transmit
from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted, encode_accept
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted, encode_ack
from udpft.protocol.wire.data import ACK_REQUEST, BurstReader, BurstWriter, data_common
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.hello import Hello, decode_hello_untrusted, encode_hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted, encode_retry

pytestmark = needs_tshark

CID, SERVER_CID, CHUNK_SIZE = 0xC0FFEE01, 0x5EA51DE5, 1176
EACH_KIND = 25


def hello(**other: object) -> bytes:
    fields = {"nonce": NONCE, "connection_id": CID, "name": b"hello.txt", "chunk_size": 2048}
    return encode_hello(Hello(receive_room=200_000, **(fields | other)), 1200)  # type: ignore[arg-type]


def accept(chunk_size: int = CHUNK_SIZE, size: int = 100_000) -> bytes:
    return encode_accept(Accept(NONCE, SERVER_CID, chunk_size, size, 0, 1), CID, chunk_size + 24)


def data(
    first: int, chunks: list[int], last: int = CHUNK_SIZE, chunk_size: int = CHUNK_SIZE
) -> bytes:
    """DATA packets back to back, the last one perhaps shorter."""
    writer = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES), NONCE)
    slots = writer.slots(len(chunks), last)
    for chunk, slot in zip(chunks, slots, strict=True):
        slot[:] = Random(chunk).randbytes(len(slot))
    common, asking = data_common(CID), data_common(CID, ACK_REQUEST)
    return bytes(writer.seal(common, asking, first, chunks, slots)[0])


def ack(*ranges: tuple[int, int]) -> bytes:
    return encode_ack(Ack(0.001, 65_536, 1, 0, list(ranges)), SERVER_CID, NONCE)


def begun() -> list[tuple[UdpAddress, UdpAddress, bytes]]:
    """A conversation up to the server's consent."""
    return [(CLIENT, SERVER, hello()), (SERVER, CLIENT, accept())]


# ------------------------------------------------------------------- fields beside our decoders'


def hex_of(number: int, digits: int) -> str:
    return f"0x{number:0{digits}x}"


def pairs_of(packet: Dissected, first: str, stop: str) -> list[tuple[int, int]]:
    both = zip(packet.all(first), packet.all(stop), strict=True)
    return [(int(one), int(other)) for one, other in both]


def same_header(shown: Dissected, datagram: bytes) -> None:
    assert int(shown.one("udpft.type"), 0) == datagram[0]
    assert int(shown.one("udpft.flags"), 0) == datagram[1]
    assert int(shown.one("udpft.aux")) == int.from_bytes(datagram[2:4], "little")
    assert int(shown.one("udpft.cid"), 0) == int.from_bytes(datagram[4:8], "little")


def same_hello(shown: Dissected, datagram: bytes) -> None:
    ours = decode_hello_untrusted(decode_untrusted(memoryview(datagram)))
    assert int(shown.one("udpft.nonce"), 0) == ours.nonce
    assert shown.one("udpft.cookie").replace(":", "") == ours.cookie.hex()
    assert int(shown.one("udpft.own_cid"), 0) == ours.connection_id
    assert int(shown.one("udpft.version")) == ours.version
    assert int(shown.one("udpft.attempt")) == ours.attempt
    assert int(shown.one("udpft.role")) == ours.role
    assert shown.one("udpft.name") == ours.name.decode()
    numbers = {
        "udpft.chunk_size": ours.chunk_size,
        "udpft.room": ours.receive_room,
        "udpft.max_rate": ours.max_rate_bytes_per_s,
        "udpft.have_of": ours.have_of,
        "udpft.request_flags": ours.flags,
        "udpft.size": ours.size,
        "udpft.mtime": ours.mtime_ns,
        "udpft.identity": ours.identity,
    }
    for name, number in numbers.items():
        assert int((shown.all(name) or ["0"])[0], 0) == number, name
    assert pairs_of(shown, "udpft.have.first", "udpft.have.stop") == list(ours.have)
    wanted = pairs_of(shown, "udpft.range.first", "udpft.range.stop")
    assert wanted == ([ours.wanted] if ours.wanted[1] else [])


def same_accept(shown: Dissected, datagram: bytes) -> None:
    ours = decode_accept_untrusted(decode_untrusted(memoryview(datagram)))
    assert int(shown.one("udpft.nonce"), 0) == ours.nonce
    assert int(shown.one("udpft.own_cid"), 0) == ours.connection_id
    assert int(shown.one("udpft.chunk_size")) == ours.chunk_size
    assert int(shown.one("udpft.size")) == ours.size
    assert int(shown.one("udpft.mtime")) == ours.mtime_ns
    assert int(shown.one("udpft.identity"), 0) == ours.identity
    assert int((shown.all("udpft.room") or ["0"])[0]) == ours.receive_room
    assert int((shown.all("udpft.max_rate") or ["0"])[0]) == ours.max_rate_bytes_per_s
    assert pairs_of(shown, "udpft.have.first", "udpft.have.stop") == list(ours.have)
    fields = ("first", "file_size", "file_identity")
    part = [int((shown.all(f"udpft.range.{one}") or ["0"])[0], 0) for one in fields]
    assert tuple(part) == ours.part


def same_ack(shown: Dissected, datagram: bytes) -> None:
    ours = decode_ack_untrusted(decode_untrusted(memoryview(datagram), NONCE))
    assert int(shown.one("udpft.ack.delay")) == round(ours.ack_delay_s * 1e6)
    assert int(shown.one("udpft.ack.room")) == ours.room
    assert int(shown.one("udpft.ack.first_missing")) == ours.first_missing
    assert int(shown.one("udpft.ack.dropped")) == ours.drops
    assert pairs_of(shown, "udpft.ack.range.first", "udpft.ack.range.stop") == ours.ranges


def same_error(shown: Dissected, datagram: bytes) -> None:
    ours = decode_error_untrusted(decode_untrusted(memoryview(datagram)))
    assert int(shown.one("udpft.nonce"), 0) == ours.nonce
    assert int(shown.one("udpft.error.code")) == ours.code
    # XML makes a space of a newline.
    assert shown.one("udpft.error.reason") == ours.reason.replace("\n", " ")
    if ours.code is ErrorCode.BUSY:
        assert int(shown.one("udpft.error.retry_after")) == round(1000 * ours.retry_after_s)


def same_fin(shown: Dissected, datagram: bytes) -> None:
    ours = decode_fin_untrusted(decode_untrusted(memoryview(datagram), NONCE))
    assert int(shown.one("udpft.size")) == ours.size
    assert shown.one("udpft.digest").replace(":", "") == ours.digest.hex()


def same_retry(shown: Dissected, datagram: bytes) -> None:
    ours = decode_retry_untrusted(decode_untrusted(memoryview(datagram)))
    assert int(shown.one("udpft.nonce"), 0) == ours.nonce
    assert shown.one("udpft.cookie").replace(":", "") == ours.cookie.hex()
    assert int(shown.one("udpft.hello_size")) == ours.hello_size
    assert int(shown.one("udpft.version")) == ours.version
    assert int(shown.one("udpft.attempt")) == ours.attempt


@pytest.mark.parametrize(
    ("made", "same"),
    [
        (random_hello, same_hello),
        (random_retry, same_retry),
        (random_accept, same_accept),
        (random_error, same_error),
    ],
    ids=["HELLO", "RETRY", "ACCEPT", "ERROR"],
)
def test_a_packet_that_stands_alone_has_the_fields_that_we_read(
    made: Callable[[Random], bytes], same: Callable[[Dissected, bytes], None], tmp_path: Path
) -> None:
    random = Random(made.__name__)
    packets = [made(random) for _ in range(EACH_KIND)]
    shown = dissect(capture(tmp_path / "x.pcapng", [(CLIENT, SERVER, one) for one in packets]))
    assert len(shown) == len(packets)
    for one, datagram in zip(shown, packets, strict=True):
        same_header(one, datagram)
        assert one.one("udpft.check.status") == "1"
        same(one, datagram)


def test_packets_that_are_bound_to_a_transfer_have_them_too(tmp_path: Path) -> None:
    random = Random("bound")
    acks = [random_ack(random) for _ in range(EACH_KIND)]
    fins = [random_fin(random) for _ in range(EACH_KIND)]
    sent = [(CLIENT, SERVER, one) for one in acks + fins]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    assert len(shown) == len(sent)
    for one, (_, _, datagram) in zip(shown, sent, strict=True):
        same_header(one, datagram)
        assert one.one("udpft.check.status") == "2", "nobody knows the nonce here"
    for one, datagram in zip(shown, acks, strict=False):
        same_ack(one, datagram)
    for one, datagram in zip(shown[len(acks) :], fins, strict=True):
        same_fin(one, datagram)


def test_data_packets_have_the_fields_that_we_read(tmp_path: Path) -> None:
    random = Random("data")
    bursts = []
    packet = 0
    for _ in range(EACH_KIND):
        chunks = sorted(random.sample(range(10**6), random.randint(1, 4)))
        bursts.append(data(packet, chunks, random.randint(0, CHUNK_SIZE)))
        packet += len(chunks)
    singles = [one for burst in bursts for one in pieces(burst, CHUNK_SIZE + 24)]
    sent = begun() + [(SERVER, CLIENT, one) for one in singles]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))[2:]
    reader = BurstReader(CID, CHUNK_SIZE, NONCE)
    for one, datagram in zip(shown, singles, strict=True):
        [ours] = reader.read_untrusted(Batch.of(datagram)).bursts
        same_header(one, datagram)
        assert int(one.one("udpft.pn")) == ours.first_packet
        assert int(one.one("udpft.chunk")) == ours.first_chunk
        payload = "".join(one.all("udpft.payload")).replace(":", "")
        assert payload == bytes(ours.slots[0]).hex()
        assert one.one("udpft.ack_request") in (str(int(ours.ack_request)), str(ours.ack_request))
        assert one.one("udpft.check.status") == "1"


def pieces(burst: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(burst), size):
        yield burst[at : at + size]


LENGTHS = (0, 1, 2, 3, 4, 8, 9, 16, 17, 32, 33, 64, 65, 96, 97, 128, 129, 144, 239, 240, 241)
LENGTHS += (1023, 1024, 1025, 1088, 1089, 2048, 5000)


def test_the_hash_is_right_at_each_of_its_lengths(tmp_path: Path) -> None:
    packets = []
    for length in LENGTHS:
        body = Random(length).randbytes(length)
        for cid in (0, 1, 0xFEDCBA98):
            head = bytes([PacketType.ERROR, 0, 0, 0]) + cid.to_bytes(4, "little")
            check = xxh3_64_intdigest(body, int.from_bytes(head, "little"))
            packets.append(head + check.to_bytes(8, "little") + body)
    sent = [(SERVER, CLIENT, packet) for packet in packets]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    assert [one.one("udpft.check.status") for one in shown] == ["1"] * len(packets)


# ------------------------------------------------------------------------------ a conversation


def experts(packet: Dissected) -> set[str]:
    return {field.name.removeprefix("udpft.expert.") for field in packet.fields} & {
        "retransmission",
        "repeated",
        "gap",
        "hello_again",
        "damaged",
        "wrong",
        "error",
    }


def test_a_chunk_that_is_sent_again_is_pointed_at(tmp_path: Path) -> None:
    first, again = data(0, [0, 1, 2]), data(3, [1])
    sent = begun() + [(SERVER, CLIENT, one) for one in pieces(first, CHUNK_SIZE + 24)]
    sent += [(CLIENT, SERVER, ack((2, 3), (0, 1))), (SERVER, CLIENT, again)]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    assert [experts(one) for one in shown] == [set()] * 6 + [{"retransmission"}]
    assert shown[-1].one("udpft.first_sent") == "4"
    assert {one.one("udpft.check.status") for one in shown} == {"1"}


def test_a_gap_and_a_repeated_datagram_are_told(tmp_path: Path) -> None:
    burst = list(pieces(data(0, [0, 1, 2]), CHUNK_SIZE + 24))
    sent = begun() + [(SERVER, CLIENT, burst[at]) for at in (0, 2, 2, 1)]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))[2:]
    assert [experts(one) for one in shown] == [set(), {"gap"}, {"repeated"}, set()]


def test_damage_is_told_of_every_kind(tmp_path: Path) -> None:
    packets = [
        (CLIENT, SERVER, hello()),
        (SERVER, CLIENT, encode_retry(Retry(NONCE, bytes(16), 1200, 1, 0), CID)),
        (SERVER, CLIENT, accept()),
        (SERVER, CLIENT, data(0, [0])),
        (CLIENT, SERVER, ack((0, 1))),
        (SERVER, CLIENT, encode_fin(PacketType.FIN, Fin(1, bytes(16)), CID, NONCE)),
        (CLIENT, SERVER, encode_fin(PacketType.FIN_ACK, Fin(1, bytes(16)), SERVER_CID, NONCE)),
        (SERVER, CLIENT, encode_error(Refusal(NONCE, ErrorCode.BUSY, "later"), CID)),
    ]
    damaged = [
        (source, destination, one[:-1] + bytes([one[-1] ^ 1]))
        for source, destination, one in packets
    ]
    shown = dissect(capture(tmp_path / "x.pcapng", packets + damaged))
    assert len(shown) == 16
    assert {one.one("udpft.check.status") for one in shown[:8]} == {"1"}
    assert {one.one("udpft.check.status") for one in shown[8:]} == {"0"}
    assert all("damaged" in experts(one) for one in shown[8:])


def test_a_repeated_hello_is_told_and_its_probes_are_not(tmp_path: Path) -> None:
    sent = [(CLIENT, SERVER, hello(attempt=attempt)) for attempt in (0, 0, 1)]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    assert [experts(one) for one in shown] == [set(), set(), {"hello_again"}]


def test_a_packet_that_is_cut_off_is_no_error_of_the_dissector(tmp_path: Path) -> None:
    kinds = [*range(0x81, 0x89), *range(0x91, 0x95)]
    sent = [
        (SERVER, CLIENT, (bytes([kind]) + Random(kind).randbytes(100))[:length])
        for kind in kinds
        for length in (1, 7, 8, 15, 16, 23, 24, 31, 47, 61)
    ]
    assert len(dissect(capture(tmp_path / "x.pcapng", sent))) == len(sent)


def test_noise_is_no_error_of_the_dissector(tmp_path: Path) -> None:
    random = Random("noise")
    kinds = [*range(0x81, 0x89), *range(0x91, 0x95), 0x80, 0xBF, 0x00, 0x20, 0xFF]
    sent = [
        (SERVER, CLIENT, bytes([random.choice(kinds)]) + random.randbytes(random.randint(0, 2000)))
        for _ in range(300)
    ]
    dissect(capture(tmp_path / "x.pcapng", sent))


# ----------------------------------------------------------------------------------------- keyed


def keyed() -> tuple[ClientChannel, KeyedAcceptor]:
    draw = Random("keys").randbytes
    key = bytes(range(32))
    return ClientChannel(key, Suite.AES_GCM, draw), KeyedAcceptor(key, Suite.CHACHA_POLY, draw)


def test_of_keyed_packets_what_is_in_the_clear_is_shown(tmp_path: Path) -> None:
    client, acceptor = keyed()
    greeting = client.seal(Transmit(memoryview(hello()), 1200))
    assert greeting
    asked = bytes(greeting.data)
    channel = acceptor.read_hello_untrusted(memoryview(asked))
    assert channel
    retry = channel.seal_retry(encode_retry(Retry(NONCE, bytes(16), 1256, 1, 0), CID))
    consent = accept()
    channel.begin(consent, TransferIds(CID, SERVER_CID, NONCE))
    answer = bytes(channel.seal(Transmit(memoryview(consent), len(consent))).data)
    clear = data(0, [0, 1, 2], 50)
    room = bytearray(MAX_BURST_BYTES)
    room[: len(clear)] = clear
    sealed = channel.seal(Transmit(memoryview(room)[: len(clear)], CHUNK_SIZE + 24))
    burst = bytes(sealed.data)
    sent = [
        (CLIENT, SERVER, asked),
        *((SERVER, CLIENT, one) for one in (retry, answer, burst)),
        *((SERVER, CLIENT, one) for one in pieces(burst, sealed.segment_size)),
    ]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    first, second, third, *rest = shown

    def raw(packet: Dissected, name: str) -> str:
        return packet.one(f"udpft.keyed.{name}").replace(":", "")

    assert (first.one("udpft.type"), first.one("udpft.keyed.suite")) == ("0x91", "1")
    assert raw(first, "e") == asked[8:40].hex()
    assert raw(first, "ciphertext") == asked[40:-16].hex()
    assert raw(first, "tag") == asked[-16:].hex()
    assert (second.one("udpft.type"), second.one("udpft.keyed.suite")) == ("0x92", "2")
    assert raw(second, "re") == asked[8:16].hex()
    assert raw(second, "nonce") == retry[16:28].hex()
    assert raw(second, "ciphertext") == retry[28:-16].hex()
    assert third.one("udpft.type") == "0x93"
    assert raw(third, "re") == asked[8:16].hex()
    assert raw(third, "e") == answer[16:48].hex()
    each = list(pieces(burst, sealed.segment_size))
    assert [one.frame for one in rest] == [4, 4, 4, 5, 6, 7]
    for one, datagram in zip(rest, each + each, strict=True):
        assert int(one.one("udpft.cid"), 0) == CID
        assert int(one.one("udpft.keyed.counter")) == int.from_bytes(datagram[8:16], "little")
        assert raw(one, "ciphertext") == datagram[16:-16].hex()


# --------------------------------------------------------------------------------------- bundles


@pytest.mark.parametrize("consent", [True, False], ids=["with ACCEPT", "without"])
@pytest.mark.parametrize("chunk_size", [64, 1176, 2048])
def test_datagrams_that_the_kernel_has_joined_are_shown_one_by_one(
    chunk_size: int, consent: bool, tmp_path: Path
) -> None:
    chunks = [*range(12), 3, 7]
    burst = data(5, chunks, last=17, chunk_size=chunk_size)
    sent = [(SERVER, CLIENT, burst)]
    if consent:
        sent = [(CLIENT, SERVER, hello()), (SERVER, CLIENT, accept(chunk_size)), *sent]
    shown = [one for one in dissect(capture(tmp_path / "x.pcapng", sent)) if one.all("udpft.pn")]
    assert [int(one.one("udpft.pn")) for one in shown] == list(range(5, 19))
    assert [int(one.one("udpft.chunk")) for one in shown] == chunks
    assert {one.one("udpft.check.status") for one in shown} == {"1" if consent else "2"}
    assert {one.frame for one in shown} == {len(sent)}


def test_so_are_control_packets(tmp_path: Path) -> None:
    fin_ack = encode_fin(PacketType.FIN_ACK, Fin(1, bytes(16)), SERVER_CID, NONCE)
    error = encode_error(Refusal(NONCE, ErrorCode.CANCELLED, "away"), CID)
    same = ack((0, 5)), ack((0, 9))
    upward = same[0] + same[1] + 3 * fin_ack
    sent = [*begun(), (CLIENT, SERVER, upward), (SERVER, CLIENT, 3 * error)]
    long = ack((20, 25), (10, 15), (0, 5))
    sent += [(CLIENT, SERVER, 4 * long)]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    kinds = [int(one.one("udpft.type"), 0) for one in shown]
    assert kinds == [0x81, 0x83, 0x85, 0x85, *[0x87] * 3, *[0x88] * 3, *[0x85] * 4]
    assert {one.one("udpft.check.status") for one in shown} == {"1"}


# -------------------------------------------------------------------------- ports, plain, small


ELSEWHERE = UdpAddress.of("2001:db8::1", 4_711)
THERE = UdpAddress.of("2001:db8::2", 40_001)


def test_reliable_is_known_on_any_port_by_its_first_bytes(tmp_path: Path) -> None:
    both = {SERVER: ELSEWHERE, CLIENT: THERE}
    sent = [*begun(), (SERVER, CLIENT, data(0, [0, 1, 2])), (CLIENT, SERVER, ack((0, 3)))]
    moved = [(both[source], both[destination], one) for source, destination, one in sent]
    shown = dissect(capture(tmp_path / "x.pcapng", moved))
    assert [int(one.one("udpft.type"), 0) for one in shown] == [0x81, 0x83, *[0x84] * 3, 0x85]


def test_other_protocols_are_left_alone(tmp_path: Path) -> None:
    a, b = UdpAddress.of("192.0.2.1", 4_711), UdpAddress.of("192.0.2.2", 40_000)
    random = Random(3)
    sent = [(a, b, random.randbytes(random.randint(1, 600))) for _ in range(200)]
    sent += [(a, b, b"say cheese and\nRun away\n"), (a, b, b"additional 17\n"), (a, b, b"")]
    found = tshark(capture(tmp_path / "x.pcapng", sent), "-T", "fields", "-e", "frame.protocols")
    assert "raw:ip:udp" in found
    assert "udpft" not in found


def test_a_plain_file_is_put_together(tmp_path: Path) -> None:
    files = [Random(size).randbytes(size) for size in (0, 1, 2047, 2048, 2049, 6_000, 0)]
    each = [[file[at : at + 2048] for at in range(0, len(file) + 1, 2048)] for file in files]
    sent = []
    for chunks in each:
        sent.append((CLIENT, SERVER, b"docs/hello.txt\n"))
        sent += [(SERVER, CLIENT, chunk) for chunk in chunks]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    assert {one.protocol for one in shown} == {"udpft.plain"}
    for file, chunks in zip(files, each, strict=True):
        request, *answers = shown[: 1 + len(chunks)]
        del shown[: 1 + len(chunks)]
        assert request.one("udpft.plain.name") == "docs/hello.txt"
        assert [int(one.one("udpft.plain.number")) for one in answers] == list(range(len(chunks)))
        assert {one.one("udpft.plain.request_in") for one in answers} == {str(request.frame)}
        taken = "".join("".join(one.all("udpft.plain.chunk")) for one in answers)
        assert taken.replace(":", "") == file.hex()
        assert answers[-1].one("udpft.plain.file.size") == str(len(file))
        assert "".join(answers[-1].all("udpft.plain.file")).replace(":", "") == file.hex()


def test_a_plain_chunk_may_begin_as_a_reliable_packet(tmp_path: Path) -> None:
    chunk = bytes([0x84]) + bytes(100)
    sent = [(CLIENT, SERVER, b"x"), (SERVER, CLIENT, chunk)]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    assert [one.protocol for one in shown] == ["udpft.plain"] * 2


def test_plain_on_another_port_can_be_asked_for(tmp_path: Path) -> None:
    sent = [(THERE, ELSEWHERE, b"a.txt"), (ELSEWHERE, THERE, b"content")]
    shown = dissect(capture(tmp_path / "x.pcapng", sent), "-d", "udp.port==4711,udpft.plain")
    assert shown[0].one("udpft.plain.name") == "a.txt"
    assert shown[1].one("udpft.plain.file.size") == "7"


@pytest.mark.parametrize("port", [9_001, 4_711])
def test_add_numbers_are_read(port: int, tmp_path: Path) -> None:
    server = UdpAddress.of("192.0.2.1", port)
    sent = [
        (CLIENT, server, "add 17 Client of Ädä\nid 5f2c91aa\n".encode()),
        (server, CLIENT, b"plus 42 Server of Bob\r\nid 5f2c91aa"),
        (CLIENT, server, b"add -5"),
    ]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    names = ("word", "integer", "name", "id")
    read = [tuple("".join(one.all(f"udpft.add.{name}")) for name in names) for one in shown]
    assert read == [
        ("add", "17", "Client of Ädä", "5f2c91aa"),
        ("plus", "42", "Server of Bob", "5f2c91aa"),
        ("add", "-5", "", ""),
    ]


@pytest.mark.parametrize("port", [9_002, 4_711])
def test_messages_are_read(port: int, tmp_path: Path) -> None:
    server = UdpAddress.of("192.0.2.1", port)
    at = "2026-10-05T14:03:07.123+02:00"
    sent = [
        (CLIENT, server, f"say hällo server\nfrom Client of Ada\nat {at}\nid 5f\n".encode()),
        (server, CLIENT, b"wait\n"),
        (server, CLIENT, b"answer hello client\nid 5f\n"),
    ]
    shown = dissect(capture(tmp_path / "x.pcapng", sent))
    names = ("word", "text", "from", "at", "id")
    read = [tuple("".join(one.all(f"udpft.message.{name}")) for name in names) for one in shown]
    assert read == [
        ("say", "hällo server", "Client of Ada", at, "5f"),
        ("wait", "", "", "", ""),
        ("answer", "hello client", "", "", "5f"),
    ]


def test_the_list_of_packets_says_what_each_is(tmp_path: Path) -> None:
    sent = [*begun(), (SERVER, CLIENT, data(0, [0, 1], 100)), (CLIENT, SERVER, ack((0, 2)))]
    lines = tshark(capture(tmp_path / "x.pcapng", sent), "-T", "fields", "-e", "_ws.col.Info")
    assert lines.splitlines() == [
        "HELLO get 'hello.txt', 1200 bytes",
        "ACCEPT 100000 bytes in chunks of 1176",
        "2 datagrams in one: DATA packet 0, chunk 0, 1176 bytes ...",
        "ACK packets 0 to 1, first missing chunk 1",
    ]
