"""Noise handshake: against published vectors, and against those without the key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.keyed.noise import EPHEMERAL_SIZE, TAG_SIZE, Forged, Handshake, Suite, next_key
from udpft.testing.network import random_bytes

# Noise_NNpsk0_25519_{AESGCM,ChaChaPoly}_BLAKE2s of the vectors of cacophony, a Noise library for
# Haskell (public domain): payload and ciphertext of each message; the first two are the handshake.
PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
PSK = bytes.fromhex("54686973206973206d7920417573747269616e20706572737065637469766521")
CLIENT_SECRET = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
SERVER_SECRET = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
HASHES = {
    Suite.AES_GCM: "63e1c64d39feda97f01112d2883b13753413cbf2184e1657dcf21a9ed49963c9",
    Suite.CHACHA_POLY: "b3e9c846d264120a4211e18307da91157a21e92e69b639c50f027f101db3e1a6",
}
MESSAGES = {
    Suite.AES_GCM: [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79448cd29a503f5d165832aa8bec5c23165496dc9cc76681e2401dbf6266b8fcba5b",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088430f46f97198fff3885eb5d3abe46aef90e8f6dcd5007d4daa93317069e634ee",
        ),
        ("462e20412e20486179656b", "a7d888f419cc6fb45c0cea1fd1b74c33217337fcdbe823ad9dfea8"),
        ("4361726c204d656e676572", "e43ae5bc1ace948f71a2875f781dc75277a4a98f60e9a175902cca"),
        (
            "4a65616e2d426170746973746520536179",
            "889bbc831c45b2168a910164d2f5b8cda488584526d53499c53755572469bbe852",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "e7091fab6faeb14559bc1df688cc4589d8476da9f2fac2e71dc5a51bab4038b30f4b54ddab",
        ),
    ],
    Suite.CHACHA_POLY: [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088434cd2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729",
        ),
        ("462e20412e20486179656b", "bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7"),
        ("4361726c204d656e676572", "416d1af83e9fa6966ce4e871156b131aa9bd7e9a1d6f8794f4872a"),
        (
            "4a65616e2d426170746973746520536179",
            "8a7d81b77bcc6c072f2b807da066efba6b5fab9edf71a7faceb2c8454b0cfef608",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "1e2ee010f72894824a25a867664ff298f2548a145dc4e9d27b1cad83f32fa7c54d69dc3279",
        ),
    ],
}

suites = pytest.mark.parametrize("suite", list(Suite))


@suites
def test_the_published_vectors(suite: Suite) -> None:
    client, server = (Handshake(suite, PSK, PROLOGUE) for _ in range(2))
    first, second, *rest = [(bytes.fromhex(p), bytes.fromhex(c)) for p, c in MESSAGES[suite]]
    assert client.write_first(first[0], CLIENT_SECRET) == first[1]
    assert server.read_first_untrusted(first[1]) == first[0]
    assert server.write_second(second[0], SERVER_SECRET) == second[1]
    assert client.read_second_untrusted(second[1]) == second[0]
    assert client.hash == server.hash == bytes.fromhex(HASHES[suite])
    keys = client.split()
    assert keys == server.split()
    for i, (payload, sealed) in enumerate(rest):
        aead = suite.aead(keys[i % 2])
        assert aead.encrypt(suite.nonce(i // 2), payload, None) == sealed


def shaken(suite: Suite = Suite.AES_GCM) -> tuple[Handshake, Handshake, bytes, bytes]:
    """Both ends and their two messages; the second one not read yet."""
    client, server = (Handshake(suite, PSK, PROLOGUE) for _ in range(2))
    first = client.write_first(b"hello", CLIENT_SECRET)
    assert server.read_first_untrusted(first) == b"hello"
    return client, server, first, server.write_second(b"welcome", SERVER_SECRET)


@suites
@given(where=st.integers(0, EPHEMERAL_SIZE + 5 + TAG_SIZE - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_first_message_shows(suite: Suite, where: int, bit: int) -> None:
    _, _, first, _ = shaken(suite)
    damaged = bytearray(first)
    damaged[where] ^= 1 << bit
    with pytest.raises(Forged):
        Handshake(suite, PSK, PROLOGUE).read_first_untrusted(bytes(damaged))


@suites
@given(where=st.integers(0, EPHEMERAL_SIZE + 7 + TAG_SIZE - 1), bit=st.integers(0, 7))
def test_a_forged_second_message_spoils_nothing(suite: Suite, where: int, bit: int) -> None:
    client, server, _, second = shaken(suite)
    damaged = bytearray(second)
    damaged[where] ^= 1 << bit
    with pytest.raises(Forged):
        client.read_second_untrusted(bytes(damaged))
    assert client.read_second_untrusted(second) == b"welcome"
    assert client.split() == server.split()


def other_handshakes() -> Iterator[Handshake]:
    yield Handshake(Suite.AES_GCM, random_bytes(32), PROLOGUE)
    yield Handshake(Suite.AES_GCM, PSK, b"another protocol")
    yield Handshake(Suite.CHACHA_POLY, PSK, PROLOGUE)


def test_another_key_protocol_or_suite_reads_nothing() -> None:
    _, _, first, _ = shaken()
    for other in other_handshakes():
        with pytest.raises(Forged):
            other.read_first_untrusted(first)


@given(message=st.binary(max_size=200))
def test_any_bytes_at_all_are_forged(message: bytes) -> None:
    client, *_ = shaken()
    with pytest.raises(Forged):
        Handshake(Suite.AES_GCM, PSK, PROLOGUE).read_first_untrusted(message)
    with pytest.raises(Forged):
        client.read_second_untrusted(message)


def test_an_ephemeral_key_of_low_order_stops_nobody() -> None:
    # Its sender has the key, and spoils what is its own. The server must live on.
    suite = Suite.AES_GCM
    server = Handshake(suite, PSK, PROLOGUE)
    forger = Handshake(suite, PSK, PROLOGUE)
    forger._state.mix_ephemeral(bytes(EPHEMERAL_SIZE))
    server.read_first_untrusted(bytes(EPHEMERAL_SIZE) + forger._state.encrypt_and_hash(b"x"))
    assert server.write_second(b"welcome", SERVER_SECRET)


def test_keys_hang_on_both_ephemeral_keys() -> None:
    known = set()
    for client_secret, server_secret in [(1, 2), (1, 3), (4, 2)]:
        client, server = (Handshake(Suite.AES_GCM, PSK, b"") for _ in range(2))
        server.read_first_untrusted(client.write_first(b"", random_bytes(32, client_secret)))
        server.write_second(b"", random_bytes(32, server_secret))
        known.update(server.split())
    assert len(known) == 6


@suites
def test_the_next_key_is_noises_rekey(suite: Suite) -> None:
    # REKEY(k): the first 32 bytes of ENCRYPT(k, 2**64 - 1, "", 32 zeros)
    expected = suite.aead(PSK).encrypt(suite.nonce(2**64 - 1), bytes(32), b"")
    assert next_key(suite, PSK) == expected[:32] != PSK


def test_a_copy_goes_its_own_way() -> None:
    begun = Handshake(Suite.AES_GCM, PSK, PROLOGUE)
    _, _, first, _ = shaken()
    assert begun.copy().read_first_untrusted(first) == b"hello"
    assert begun.copy().read_first_untrusted(first) == b"hello"
