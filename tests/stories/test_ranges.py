"""Ranges of files on all kinds of paths: exact, verified, at the cost of their own bytes."""

from __future__ import annotations

import pytest

from tests.stories.test_restarts import DOWN
from udpft.errors import RangeNotThere, SourceChanged, UdpftError, VersionMismatch
from udpft.protocol.server import session_creation
from udpft.protocol.transfer.file_range import FileRange
from udpft.protocol.wire.accept import Part, decode_accept_untrusted
from udpft.protocol.wire.hello import TO_THE_END, Role
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import MemorySink, MemorySource, Shape, SimNet, random_bytes

SIZE = 8 * 2**20 + 7
CONTENT = random_bytes(SIZE)
MIB = 2**20


class CountingSource(MemorySource):
    """A file that counts the bytes that are read of it."""

    read_bytes = 0

    def readv(self, slots, offset, /):  # type: ignore[no-untyped-def]
        got = super().readv(slots, offset)
        self.read_bytes += got
        return got


RANGES = [(0, MIB), (3_000_001, 3_000_001 + MIB), (SIZE - MIB, SIZE), (-MIB, TO_THE_END)]
RANGES += [(SIZE - MIB, SIZE + MIB), (0, TO_THE_END), (5, 6)]


@pytest.mark.parametrize(("first", "stop"), RANGES)
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_range_is_exact_and_costs_what_it_has(first: int, stop: int, loss: float) -> None:
    net = SimNet({"file": CONTENT}, seed=3, down=Shape(loss=loss), up=Shape(loss=loss))
    net.sources["file"] = source = CountingSource(CONTENT)
    client = net.get("file", role=Role.RANGE, wanted=(first, stop))
    net.run()
    expected = CONTENT[slice(first, stop)]
    assert client.content == expected
    assert client.handshake
    accept = client.handshake.accept
    assert accept.part == Part(first % SIZE, SIZE, source.identity)
    assert source.read_bytes <= 1.2 * len(expected) / (1 - loss) + 2_048
    assert net.down.sent_bytes <= 1.05 * len(expected) / (1 - loss) ** 2 + 50_000
    net.run_until_quiet()
    assert source.closed
    assert net.ended[0].confirmed


@pytest.mark.parametrize("size", [0, 10])
def test_a_range_behind_the_end_is_refused(size: int) -> None:
    net = SimNet({"file": CONTENT[:size]})
    client = net.get("file", role=Role.RANGE, wanted=(10, 20))
    net.run()
    assert isinstance(client.error, RangeNotThere)
    assert client.error.exit_code == 36
    assert net.sources["file"].closed


def test_nothing_of_an_empty_file_is_all_of_it() -> None:
    net = SimNet({"file": b""})
    client = net.get("file", role=Role.RANGE, wanted=(0, 20))
    net.run()
    assert client.content == b""
    assert client.outcome


def test_a_range_with_a_key() -> None:
    net = SimNet({"file": CONTENT}, key=bytes(32))
    client = net.get("file", role=Role.RANGE, wanted=(5, MIB))
    net.run()
    assert client.content == CONTENT[5:MIB]


@pytest.mark.parametrize("fault", ["is_suspect", "is_changed"])
def test_a_change_in_mid_transfer_is_found(fault: str) -> None:
    net = SimNet({"file": CONTENT}, down=DOWN)
    client = net.get("file", role=Role.RANGE, wanted=(MIB, 3 * MIB))
    net.run_to(1.0)
    assert client.outcome is None
    source = net.sources["file"]
    setattr(source, fault, True)
    source.content = CONTENT[: MIB + 100] + b"?" + CONTENT[MIB + 101 :]
    net.run()
    assert isinstance(client.error, UdpftError)
    assert isinstance(client.error, SourceChanged) or client.error.exit_code == 18


def test_a_change_outside_the_range_does_not_matter() -> None:
    net = SimNet({"file": CONTENT}, down=DOWN)
    client = net.get("file", role=Role.RANGE, wanted=(MIB, 3 * MIB))
    net.run_to(1.0)
    source = net.sources["file"]
    source.is_suspect = True
    source.content = b"?" + CONTENT[1:]
    net.run()
    assert client.content == CONTENT[MIB : 3 * MIB]


def test_another_server_goes_on_with_it_and_not_with_that_of_another_version() -> None:
    for identity in (1, 2):
        net = SimNet({"file": CONTENT}, down=DOWN)
        client = net.get("file", role=Role.RANGE, wanted=(5, 3 * MIB))
        net.run_to(1.0)
        held = client.download.bytes_held
        assert 0 < held < 2 * MIB
        net.restart_server()
        net.sources["file"].identity = identity
        net.run()
        if identity == 1:
            assert client.content == CONTENT[5 : 3 * MIB]
            assert net.down.sent_bytes <= 1.3 * 3 * MIB
        else:
            assert isinstance(client.error, SourceChanged)


def test_what_is_held_of_the_same_range_is_not_sent_again() -> None:
    net = SimNet({"file": CONTENT})
    identity = FileRange(net.sources["file"], (5, MIB)).identity
    for wanted, fresh in (((5, MIB), False), ((6, MIB + 1), True)):
        have = ((0, MIB // 2),)
        client = net.get("file", role=Role.RANGE, wanted=wanted, have=have, have_of=identity)
        client.sink = MemorySink(wanted[1] - wanted[0])
        client.sink.content[: MIB // 2] = CONTENT[5 : 5 + MIB // 2]
        net.run()
        assert client.content == CONTENT[slice(*wanted)]
        assert (client.download.bytes_received > MIB // 2 + 10_000) == fresh


def test_an_older_server_says_that_it_does_not_know_the_role(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = tuple(role for role in session_creation._ROLES if role != Role.RANGE)
    monkeypatch.setattr(session_creation, "_ROLES", known)
    net = SimNet({"file": CONTENT})
    client = net.get("file", role=Role.RANGE, wanted=(5, MIB))
    net.run()
    assert isinstance(client.error, VersionMismatch)


def test_what_other_requests_are_told_is_as_it_ever_was() -> None:
    net = SimNet({"file": CONTENT})
    net.get("file")
    net.run()
    (told,) = net.down.packets(PacketType.ACCEPT)
    assert not any(told[56:])
    assert decode_accept_untrusted(decode_untrusted(memoryview(told))).part.file_identity == 0
