"""Sealed packets: opened as they were sealed, or dropped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udpft.protocol.contract import Batch, Transmit
from udpft.protocol.keyed import sealing
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.keyed.notice import KeyedType
from udpft.protocol.keyed.sealing import Opener, Sealer, SealingBuffers
from udpft.protocol.params import REKEY_PACKETS, SEAL_OVERHEAD
from udpft.testing.network import random_bytes

KEY = random_bytes(32)
CONNECTION_ID = 0xC0FFEE01
SIZE = 88  # of a packet


def ends(suite: Suite = Suite.AES_GCM, **options: Any) -> tuple[Sealer, Opener]:
    """A sealer and its opener."""
    key = options.get("key", KEY)
    return (
        Sealer(suite, KEY, CONNECTION_ID, SealingBuffers.for_sealing()),
        Opener(suite, key, options.get("id", CONNECTION_ID), SealingBuffers.for_opening()),
    )


def burst(count: int, last: int = SIZE, size: int = SIZE) -> Transmit:
    """So many packets, the last one shorter."""
    return Transmit(memoryview(bytearray(random_bytes((count - 1) * size + last))), size)


def open_(opener: Opener, sealed: bytes, size: int = SIZE + SEAL_OVERHEAD) -> bytes:
    """What is in a batch, as the end within sees it."""
    opened = opener.open_untrusted(Batch(bytearray(sealed), len(sealed), size))
    if opened is None:
        return b""
    assert opened.segment_size == size - SEAL_OVERHEAD
    return bytes(opened.buffer[: opened.length])


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize(("count", "last"), [(1, SIZE), (1, 3), (2, SIZE), (31, 5), (256, SIZE)])
def test_a_burst_comes_out_as_it_went_in(suite: Suite, count: int, last: int) -> None:
    sealer, opener = ends(suite)
    for _ in range(3):
        transmit = burst(count, last)
        sealed = sealer.seal(transmit)
        assert len(sealed.data) == len(transmit.data) + count * SEAL_OVERHEAD
        assert sealed.data[0] == KeyedType.SEALED
        together = bytes(sealed.data)
        assert open_(opener, together, sealed.segment_size if count > 1 else len(together)) == (
            bytes(transmit.data)
        )


def test_bursts_of_changing_sizes() -> None:
    sealer, opener = ends()
    for size in [*range(64, 64 + 8 * 20, 8), 64, 2072, 1440]:
        transmit = burst(5, 40, size)
        sealed = bytes(sealer.seal(transmit).data)
        assert open_(opener, sealed, size + SEAL_OVERHEAD) == bytes(transmit.data)


def test_bursts_in_buffers_of_their_own() -> None:
    sealer, opener = ends()
    for seed in range(5):
        content = random_bytes(7 * SIZE, seed)
        sealed = bytes(sealer.seal(Transmit(memoryview(bytearray(content)), SIZE)).data)
        assert open_(opener, sealed) == content


def test_a_burst_is_the_same_as_its_packets_one_by_one() -> None:
    together, singly = ends()[0], ends()[0]
    transmit = burst(4)
    packets = [transmit.data[at : at + SIZE] for at in range(0, 4 * SIZE, SIZE)]
    assert bytes(together.seal(transmit).data) == b"".join(
        bytes(singly.seal(Transmit(packet, SIZE)).data) for packet in packets
    )
    assert together.bytes_sealed == singly.bytes_sealed == 4 * (SIZE + SEAL_OVERHEAD)


@given(at=st.integers(0, 4 * (SIZE + SEAL_OVERHEAD) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_drops_its_packet_and_no_other(at: int, bit: int) -> None:
    sealer, opener = ends()
    transmit = burst(4)
    damaged = bytearray(sealer.seal(transmit).data)
    damaged[at] ^= 1 << bit
    hit = at // (SIZE + SEAL_OVERHEAD)
    whole = bytes(transmit.data)
    assert open_(opener, damaged) == whole[: hit * SIZE] + whole[(hit + 1) * SIZE :]


@given(at=st.integers(0, SIZE + SEAL_OVERHEAD - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_lonely_packet_drops_it(at: int, bit: int) -> None:
    sealer, opener = ends()
    damaged = bytearray(sealer.seal(burst(1)).data)
    damaged[at] ^= 1 << bit
    assert open_(opener, damaged) == b""


@settings(max_examples=50)
@given(order=st.lists(st.integers(0, 19), max_size=60), batch=st.integers(1, 7))
def test_in_any_order_and_however_often_each_packet_comes_out_once(
    order: list[int], batch: int
) -> None:
    sealer, opener = ends()
    transmit = burst(20)
    sealed = bytes(sealer.seal(transmit).data)
    width = SIZE + SEAL_OVERHEAD
    came = b""
    for at in range(0, len(order), batch):
        numbers = order[at : at + batch]
        came += open_(opener, b"".join(sealed[n * width : (n + 1) * width] for n in numbers))
    once = list(dict.fromkeys(order))
    assert came == b"".join(bytes(transmit.data)[n * SIZE : (n + 1) * SIZE] for n in once)


def test_a_replayed_burst_is_dropped() -> None:
    sealer, opener = ends()
    sealed = bytes(sealer.seal(burst(31)).data)
    assert open_(opener, sealed)
    assert open_(opener, sealed) == b""


def test_what_is_not_authentic_moves_no_window() -> None:
    sealer, opener = ends()
    honest = bytes(sealer.seal(burst(3)).data)
    forged = bytearray(honest)
    width = SIZE + SEAL_OVERHEAD
    for at in range(0, len(forged), width):
        forged[at + 8 : at + 16] = (2**63 + at).to_bytes(8, "little")
    assert open_(opener, forged) == b""
    assert open_(opener, honest)


@given(batch=st.binary(max_size=400), size=st.integers(1, 200))
def test_any_bytes_at_all_are_dropped(batch: bytes, size: int) -> None:
    _, opener = ends()
    assert opener.open_untrusted(Batch(bytearray(batch), len(batch), size)) is None


def test_another_key_or_connection_opens_nothing() -> None:
    sealed = bytes(ends()[0].seal(burst(3)).data)
    assert open_(ends(key=random_bytes(32, 9))[1], sealed) == b""
    assert open_(ends(id=1)[1], sealed) == b""
    assert open_(ends(Suite.CHACHA_POLY)[1], sealed) == b""


def test_counters_follow_on_from_burst_to_burst() -> None:
    sealer, _ = ends()
    width = SIZE + SEAL_OVERHEAD
    counters = []
    for count in (3, 1, 2):
        sealed = bytes(sealer.seal(burst(count)).data)
        counters += [sealed[at + 8 : at + 16] for at in range(0, len(sealed), width)]
    assert counters == [n.to_bytes(8, "little") for n in range(6)]


@pytest.mark.parametrize("count", [1, 3])
def test_counters_end_and_never_begin_again(count: int) -> None:
    sealer, _ = ends()
    epoch = 2**64 // REKEY_PACKETS - 1
    sealer._keys._epoch, sealer._keys._aeads[epoch] = epoch, Suite.AES_GCM.aead(KEY)
    sealer._counter = first = 2**64 - 10
    left = []
    while True:
        try:
            sealed = sealer.seal(burst(count))
        except AssertionError:
            break
        left.append(int.from_bytes(sealed.data[8:16], "little"))
    assert left == list(range(first, left[-1] + 1, count))
    # Noise makes the next key with the very last counter, which no packet has.
    assert 2**64 - 2 - 2 * count <= left[-1] <= 2**64 - 1 - count
    with pytest.raises(AssertionError):
        sealer.seal(burst(count))


# ----------------------------------------------------------------------------------------- epochs


def test_keys_change_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "REKEY_PACKETS", 10)
    sealer, opener = ends()
    bursts = []
    for count in (4, 4, 4, 9, 1, 1, 10, 2):
        transmit = burst(count)
        bursts.append((bytes(sealer.seal(transmit).data), bytes(transmit.data)))
    for sealed, opened in bursts:
        assert open_(opener, sealed) == opened


def test_a_burst_that_just_fills_an_epoch_leaves_no_counter_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealing, "REKEY_PACKETS", 10)
    sealer, _ = ends()
    first = [
        int.from_bytes(sealer.seal(burst(count)).data[8:16], "little")
        for count in (5, 5, 9, 2, 8)  # the fourth fits no more
    ]
    assert first == [0, 5, 10, 20, 22]


def test_a_packet_of_the_key_before_is_late_and_one_of_older_keys_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealing, "REKEY_PACKETS", 10)
    sealer, opener = ends()
    packets = [bytes(sealer.seal(burst(1)).data) for _ in range(35)]
    for n in (0, 12, 9, 25, 19):
        assert open_(opener, packets[n]), n
    assert open_(opener, packets[8]) == b""  # its key is gone
    assert open_(opener, packets[34])


def test_a_forged_counter_of_the_next_key_changes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "REKEY_PACKETS", 10)
    sealer, opener = ends()
    packets = [bytes(sealer.seal(burst(1)).data) for _ in range(3)]
    for counter in (10, 11, 20, 2**64 - 1):
        forged = packets[0][:8] + counter.to_bytes(8, "little") + packets[0][16:]
        assert open_(opener, forged) == b""
    assert all(open_(opener, packet) for packet in packets)
