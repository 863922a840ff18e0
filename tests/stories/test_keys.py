"""Transfers under a key: as good as others on a bad network, and nobody else's business."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from udpft.errors import NoSuchFile, TimedOut
from udpft.protocol.contract import Completed
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.keyed.notice import KeyedType
from udpft.protocol.params import MIN_DATAGRAM_SIZE, SEAL_OVERHEAD
from udpft.testing.network import SERVER, Shape, SimNet, SimulatedClient, random_bytes

KEY, OTHER_KEY = random_bytes(32, seed=1), random_bytes(32, seed=2)
SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)
ETHERNET = Shape(mtu_payload=1472)


def fetch(net: SimNet, **options: object) -> SimulatedClient:
    client = net.get("file", **options)  # type: ignore[arg-type]
    net.run()
    return client


# --------------------------------------------------------------------------- on a bad network


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize(
    "fault",
    [
        Shape(),
        Shape(loss=0.05),
        Shape(loss=0.25),
        Shape(reorder=0.2),
        Shape(duplicate=0.2),
        Shape(corrupt=0.02),
        Shape(loss=0.03, reorder=0.1, duplicate=0.1, corrupt=0.02, jitter_s=0.003),
    ],
    ids=["good", "loss", "heavy loss", "reordering", "duplicates", "damage", "everything"],
)
def test_the_file_arrives_whatever_the_network_does(fault: Shape, suite: Suite) -> None:
    net = SimNet({"file": CONTENT}, seed=5, down=fault, up=fault, key=KEY)
    assert fetch(net, suite=suite).content == CONTENT


@pytest.mark.parametrize(
    ("mtu_payload", "chunk_size"),
    [(1472, 1416), (1280, 1144), (1200, 1144), (8972, 2048), (65_507, 2048)],
)
def test_nothing_is_larger_than_the_path_carries(mtu_payload: int, chunk_size: int) -> None:
    path = Shape(mtu_payload=mtu_payload)
    net = SimNet({"file": CONTENT}, down=path, up=path, key=KEY)
    client = fetch(net)
    assert client.content == CONTENT
    assert client.chunk_size == chunk_size
    assert net.down.lost == 0, "the server sends what the path does not carry"
    largest = max(map(len, net.down.sent))
    assert largest == chunk_size + 24 + SEAL_OVERHEAD <= mtu_payload


def test_a_way_back_that_is_narrower_is_found_out() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(mtu_payload=1280), key=KEY)
    client = fetch(net)
    assert client.content == CONTENT
    assert client.chunk_size == 1144


@pytest.mark.parametrize("chunk_size", [64, 1000, 16_344])
def test_chunks_of_any_size(chunk_size: int) -> None:
    net = SimNet({"file": CONTENT[:200_001]}, key=KEY)
    client = fetch(net, chunk_size=chunk_size)
    assert client.content == CONTENT[:200_001]
    assert client.chunk_size <= chunk_size


def test_the_log_counts_what_the_key_adds() -> None:
    net = SimNet({"file": CONTENT}, key=KEY)
    fetch(net)
    net.run_until_quiet()
    (ended,) = net.ended
    assert ended.confirmed
    assert ended.traffic.bytes_sent == sum(
        len(d) for d in net.down.sent if d[0] == KeyedType.SEALED
    )


def test_files_that_need_no_burst() -> None:
    for content in (b"", b"x", CONTENT[:2048]):
        assert fetch(SimNet({"file": content}, key=KEY)).content == content


def test_many_clients_share_a_server() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=10e6), key=KEY)
    clients = [net.get("file", suite=Suite(1 + i % 2)) for i in range(10)]
    net.run()
    assert all(client.content == CONTENT for client in clients)


def test_a_rate_that_was_asked_for_counts_what_the_key_adds() -> None:
    net = SimNet({"file": CONTENT}, down=ETHERNET, up=ETHERNET, key=KEY)
    client = fetch(net, max_rate_bytes_per_s=1_000_000)
    assert client.content == CONTENT
    assert net.down.sent_bytes / client.ended_at < 1_050_000


def test_the_same_fetch_goes_on_with_a_server_started_again() -> None:
    slow = Shape(rate_bytes_per_s=1e6, mtu_payload=1472)
    net = SimNet({"file": CONTENT}, down=slow, up=ETHERNET, key=KEY)
    client = net.get("file")
    net.run_to(0.6)
    here = client.download.bytes_held
    assert 0 < here < SIZE
    net.restart_server()
    before = net.down.sent_bytes
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes - before < SIZE - here + 300_000
    assert max(map(len, net.up.sent)) <= 2104  # no probe is larger than its wanted chunk, sealed
    assert {datagram[0] for datagram in net.up.sent} <= set(KeyedType)


def test_a_path_that_carries_less_than_before_is_borne() -> None:
    slow = Shape(rate_bytes_per_s=1e6)
    net = SimNet({"file": CONTENT}, down=slow, key=KEY)
    client = net.get("file")
    net.run_to(0.6)
    narrow = replace(slow, mtu_payload=1200)
    net.down.shape, net.up.shape = narrow, replace(narrow, rate_bytes_per_s=inf)
    net.run()
    assert client.content == CONTENT


# --------------------------------------------------------------------------------- who is heard


@pytest.mark.parametrize("key", [OTHER_KEY, b""], ids=["another key", "no key"])
def test_without_the_key_the_server_is_not_there(key: bytes) -> None:
    net = SimNet({"file": CONTENT}, key=KEY)
    client = fetch(net, key=key)
    assert isinstance(client.error, TimedOut)
    assert "key" in client.error.hint
    assert net.up.sent
    assert net.down.sent == []


def test_who_has_the_key_is_told_what_is_wrong() -> None:
    net = SimNet({"file": CONTENT}, key=KEY)
    client = net.get("fiel")
    net.run()
    assert isinstance(client.error, NoSuchFile)
    assert client.error.hint == "did you mean 'file'?"


def test_garbage_of_every_type_draws_no_answer() -> None:
    net = SimNet({"file": CONTENT}, key=KEY)
    for first in range(256):
        for size in (1, 8, 48, MIN_DATAGRAM_SIZE, 2104):
            datagram = bytes([first, 0, 1, 0, 0, 0, 0, 0]) + net.random.randbytes(size)
            net.inject(datagram[:size], net.up, "stranger", SERVER)
    net.run_until_quiet()
    assert net.down.sent == []


def test_a_first_datagram_sent_again_by_another_draws_less_than_it_is() -> None:
    net = SimNet({"file": CONTENT}, key=KEY)
    assert isinstance(fetch(net).outcome, Completed)
    net.run_until_quiet()
    hellos = [datagram for datagram in net.up.sent if datagram[0] == KeyedType.HELLO]
    before = len(net.down.sent)
    for _ in range(3):
        for hello in hellos:
            net.inject(hello, net.up, "stranger", SERVER)
    net.run_until_quiet()
    drawn = net.down.sent[before:]
    assert drawn
    assert {datagram[0] for datagram in drawn} == {KeyedType.RETRY}
    assert sum(map(len, drawn)) < 0.1 * 3 * sum(map(len, hellos))
    assert len(net.listener) == 0


def test_a_whole_transfer_sent_again_from_its_own_address_draws_nothing_new() -> None:
    net = SimNet({"file": CONTENT}, key=KEY)
    client = fetch(net)
    net.run_until_quiet()
    recorded = list(net.up.sent)
    before = len(net.down.sent)
    for datagram in recorded:
        net.inject(datagram, net.up, client.address, SERVER)
    net.run_until_quiet()
    drawn = sum(map(len, net.down.sent[before:]))
    assert drawn <= sum(map(len, recorded))
    assert len(net.ended) == 1


def test_neither_content_nor_name_is_seen_on_the_way() -> None:
    name = "the-name-of-the-file.txt"
    content = b"the plaintext of the file, again and again. " * 5_000
    net = SimNet({name: content}, key=KEY)
    client = net.get(name)
    net.run()
    assert client.content == content
    for datagram in net.down.sent + net.up.sent:
        assert b"plaintext" not in datagram
        assert b"name-of" not in datagram
        assert datagram[0] in list(KeyedType)


def test_no_two_datagrams_of_a_direction_are_sealed_under_one_counter() -> None:
    lossy = Shape(loss=0.1)
    net = SimNet({"file": CONTENT}, down=lossy, up=lossy, key=KEY)
    fetch(net)
    for link in (net.down, net.up):
        sealed = [d[4:16] for d in link.sent if d[0] == KeyedType.SEALED]
        assert len(set(sealed)) == len(sealed)


def test_no_two_hellos_have_one_ephemeral_key() -> None:
    net = SimNet({"file": CONTENT}, up=Shape(loss=0.7), seed=3, key=KEY)
    fetch(net)
    hellos = [d[8:40] for d in net.up.sent if d[0] == KeyedType.HELLO]
    assert len(hellos) > 3
    assert len(set(hellos)) == len(hellos)


@pytest.mark.parametrize("own", list(Suite))
def test_aes_is_for_where_both_ends_are_quick_at_it(own: Suite) -> None:
    net = SimNet({"file": CONTENT}, key=KEY)  # the server is
    fetch(net, suite=own)
    answers = [d for d in net.down.sent if d[0] == KeyedType.ANSWER]
    assert {d[2] for d in answers} == {own}


def test_a_server_without_a_key_says_so() -> None:
    net = SimNet({"file": CONTENT})
    client = fetch(net, key=KEY)
    assert isinstance(client.error, TimedOut)
    assert client.channel
    assert client.channel.server_has_no_key
    assert net.down.sent_bytes < 0.1 * net.up.sent_bytes


def test_a_forged_word_that_there_is_no_key_changes_nothing() -> None:
    honest = SimNet({"file": CONTENT})
    fetch(honest, key=KEY)
    net = SimNet({"file": CONTENT}, key=KEY)
    client = net.get("file")
    for notice in honest.down.sent:  # of other HELLOs: a forger who sees nothing
        net.inject(notice, net.down, SERVER, client.address)
    net.run()
    assert client.content == CONTENT
    assert client.channel
    assert not client.channel.server_has_no_key
