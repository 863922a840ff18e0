"""Packets with random fields, as ours encode them."""

from __future__ import annotations

from random import Random

from udpft.protocol.wire.accept import Accept, Part, encode_accept
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import PacketType
from udpft.protocol.wire.retry import Retry, encode_retry

NONCE = 0x1122334455667788


def ranges(random: Random, most: int, top: int) -> list[tuple[int, int]]:
    """Half-open ranges, the largest first."""
    edges = sorted(random.sample(range(top), 2 * random.randint(1, most)), reverse=True)
    return [(start, stop) for stop, start in zip(edges[::2], edges[1::2], strict=True)]


def random_hello(random: Random) -> bytes:
    def draw(bits: int) -> int:
        return random.choice([0, random.getrandbits(bits)])

    text = "".join(random.choices("abz/.ä€ -_'\"", k=random.randint(0, 60)))
    made = Hello(
        nonce=random.getrandbits(64),
        connection_id=random.getrandbits(32),
        name=text.encode(),
        chunk_size=draw(16),
        receive_room=draw(40),
        role=random.randint(1, 9),
        wanted=random.choice([(0, 0), (draw(63) - draw(63), 1 + draw(63))]),
        cookie=random.choice([bytes(16), random.randbytes(16)]),
        max_rate_bytes_per_s=draw(40),
        have=tuple(ranges(random, 8, 10**12)) if random.random() < 0.5 else (),
        have_of=draw(64),
        attempt=random.randint(0, 255),
        flags=draw(5),
        size=draw(50),
        mtime_ns=draw(60) - draw(60),
        identity=draw(64),
    )
    asked = random.choice([0, random.getrandbits(32)])
    return encode_hello(made, random.choice([1200, 1392, 1472, 8968]), asked)


def random_accept(random: Random) -> bytes:
    chunk_size = 8 * random.randint(8, 300)
    have = tuple(ranges(random, 8, 10**12)) if random.random() < 0.5 else ()
    upload = (random.getrandbits(30), random.getrandbits(30), have) if have else ()
    numbers = (random.getrandbits(64), random.getrandbits(32), chunk_size, random.getrandbits(40))
    made = Accept(*numbers, random.getrandbits(62) - 2**61, random.getrandbits(64), *upload)
    if random.random() < 0.5:
        part = Part(random.getrandbits(40), random.getrandbits(40), 1 + random.getrandbits(63))
        made = made._replace(part=part)
    return encode_accept(made, random.getrandbits(32), chunk_size + 24)


def random_ack(random: Random) -> bytes:
    made = Ack(
        random.getrandbits(20) / 1e6,
        random.getrandbits(32),
        random.getrandbits(31),
        random.getrandbits(32),
        ranges(random, 64, 2**32 - 2),
    )
    return encode_ack(made, random.getrandbits(32), NONCE)


def random_error(random: Random) -> bytes:
    text = "".join(random.choices("abc ä€\n", k=random.randint(0, 200)))
    code = random.choice(list(ErrorCode))
    after_s = random.getrandbits(16) / 1000
    return encode_error(
        Refusal(random.getrandbits(64), code, text, after_s), random.getrandbits(32)
    )


def random_fin(random: Random) -> bytes:
    kind = random.choice([PacketType.FIN, PacketType.FIN_ACK])
    made = Fin(random.getrandbits(64), random.randbytes(16))
    skipped = random.getrandbits(16) if kind is PacketType.FIN else 0
    return encode_fin(kind, made, random.getrandbits(32), NONCE, skipped)


def random_retry(random: Random) -> bytes:
    made = Retry(
        random.getrandbits(64),
        random.randbytes(16),
        random.getrandbits(16),
        random.getrandbits(16),
        random.getrandbits(8),
    )
    return encode_retry(made, random.getrandbits(32))
