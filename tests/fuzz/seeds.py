"""Seeds of the fuzzers: one whole transfer and a few odd inputs, for each target.

``python -m tests.fuzz.seeds`` writes those that are missing into the corpus.
"""

from __future__ import annotations

from hashlib import blake2s
from pathlib import Path

from tests.fuzz.targets import TARGETS
from udpft.protocol.wire.hello import Role
from udpft.protocol.wire.listing import Entry, encode_entry
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import SimNet, random_bytes

CORPUS = Path(__file__).parent / "corpus"
RANGES = [b"\x05\x00\x10\x00", b"\xfb\xff\xff\xff", b"\xff\x7f\xff\xff", b"\x09\x00\x03\x00"]
"""Of bytes 5 to 15, of the last five, behind the end, and one that ends before it begins."""

_TYPES = list(PacketType)
ENTRIES = [
    Entry("a", True, 0, 0, 0o755),
    Entry("a/b.txt", False, 5, 1, 0o644, 7),
    Entry("a/ü", False, 0, -1, 0o600, 8),
]


def step(kind: int, data: bytes) -> bytes:
    """One step of a script."""
    return bytes([kind]) + len(data).to_bytes(2, "little") + data


_SHELL_LINES = [
    b'{"udpft": 1, "key": "' + b"1f" * 32 + b'", "ports": [9000, 9010], "timeout_s": 30,'
    b' "get": {"paths": ["a/b"], "recursive": false}}',
    b' 1, "port": 9000, "addresses": ["10.0.0.1"], "found": []}',
]


def inputs() -> dict[str, list[bytes]]:
    """A few inputs for each target."""
    net = SimNet({"file": random_bytes(600)})
    net.get("file", chunk_size=64, sizes=(1200,))
    net.run()
    ranged = SimNet({"file": random_bytes(600)})
    ranged.get("file", chunk_size=64, sizes=(1200,), role=Role.RANGE, wanted=(100, 300))
    ranged.run()
    of_range = [*ranged.up.sent[1:2], *ranged.down.sent[1:2]]  # HELLO with a cookie, ACCEPT
    said = [*net.up.sent, *net.down.sent]
    holey = SimNet({"file": random_bytes(600) + bytes(9_000)})
    holey.sources["file"].note_holes()
    holey.get("file", sparse=True, chunk_size=64, sizes=(1200,))
    holey.put("new", bytes(9_000) + random_bytes(600), sparse=True, sizes=(1200,))
    holey.run()
    with_holes = [
        (_TYPES.index(PacketType(d[0])), d[16:])
        for d in (*holey.up.sent, *holey.down.sent)
        if d[0] in (PacketType.HELLO, PacketType.ACCEPT)
    ]
    sparse = b"".join(step(4 * type_ + 2, body) for type_, body in with_holes)
    bodies = [(_TYPES.index(PacketType(d[0])), d[16:]) for d in said if d[0] != PacketType.DATA]
    data = b"".join(net.down.packets(PacketType.DATA))
    wrapped = b"".join(step(4 * type_ + 2, body) for type_, body in bodies)
    add = b"add 17\nClient\nid 5f2c91aa\n"
    message = b"say hello\nfrom Ada\nat 2026-10-05T14:03:07.123+02:00\nid 5f2c91aa\n"
    hellos = step(0xE8, b"ab") + step(0xE8, b"ab")
    accepted = step(0xE8, b"") + step(0xE0, bytes(129))
    chunks = b"".join(step(0xC0, bytes([n, 1, n]) + bytes(70)) for n in range(3))
    return {
        "control": [*said[:8], *of_range],
        "bodies": [bytes([type_]) + body for type_, body in (*bodies[:8], *with_holes)]
        + [bytes([_TYPES.index(PacketType(d[0]))]) + d[16:] for d in of_range],
        "bursts": [b"\x57\x00" + data, b"\x57\x00\x01" + data[:300]],
        "plain_request": [b"hello.txt\n", "ä/ö\r\n".encode(), b"\x81"],
        "listener": [
            hellos + wrapped,
            hellos + sparse + wrapped,
            hellos + step(0xF0, bytes(400)),
            *(step(0xEC, wanted) * 2 + wrapped for wanted in RANGES),
        ],
        "download": [
            accepted + chunks + wrapped,
            step(0xE8, b"") + step(0xE4, bytes(129)) + chunks + sparse + wrapped,
            wrapped,
            accepted + step(0xF0, bytes(400)),
        ],
        "sender": [step(0x80, b"\x03\x02\x01") * 3 + step(0xF0, bytes(200)) * 9, wrapped],
        "reports": [
            b"".join(step(3 * (n % 40), bytes([29 * n % 256, n % 2])) for n in range(200)),
            b"".join(step(0xC3, bytes([n, 0])) for n in (9, 1, 30, 3, 2, 200)),
        ],
        "handshake": [
            step(0xD0, b"") + step(0xF0, bytes(30)) * 3 + step(0xD1, b"x") + wrapped,
            step(0xF0, bytes(200)) + step(0xD1, b"") + step(0xF0, bytes(9)) * 9,
        ],
        "shell_lines": _SHELL_LINES,
        "intake": [chunks + wrapped + step(0xF0, bytes(400)), step(0xF0, bytes(4_000))],
        "upload": [
            step(0xE8, b"") + step(0xD0 + n, bytes(70)) + step(0xF0, bytes(9)) * 4 + wrapped
            for n in range(3)
        ],
        "listing": [b"".join(map(encode_entry, ENTRIES)), encode_entry(ENTRIES[1])[:-1]],
        "plain_receiver": [step(1, b"a") * 3 + step(0, b"end")],
        "adder": [step(0, add), step(1, b"101\n"), step(3, b"id 1\n") * 2, step(2, b"42\n")],
        "replier": [step(0, message) * 2, step(4, b"id 1\n") + step(0xF0, bytes(100))],
    }


def main() -> None:
    """Write the corpus."""
    for target, samples in inputs().items():
        assert target in TARGETS
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for sample in samples:
            (folder / blake2s(sample, digest_size=8).hexdigest()).write_bytes(sample)


if __name__ == "__main__":
    main()
