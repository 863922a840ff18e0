"""Keys on real sockets: their files, the clients served, the bytes seen on the way."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

import udpft
from tests.samples import LARGE, PATIENCE_S, SIZES, sample
from tests.storage.conftest import names
from udpft.api import RunningServer, connect
from udpft.client.client import Client
from udpft.errors import (
    KeyRejected,
    LocalReadFailed,
    LocalWriteFailed,
    NoSuchFile,
    TimedOut,
    UsageError,
)
from udpft.keys import (
    Key,
    client_channel,
    fastest_suite,
    keyed_acceptor,
    new_key_file,
    read_key_file,
    readable_by_others,
)
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.keyed.notice import KeyedType
from udpft.server import access
from udpft.server.server import Server
from udpft.testing import LossyLink, Seen


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key file."""
    new_key_file(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def keyed(samples: Path, key: Path) -> Iterator[RunningServer]:
    """A server of the samples to holders of the key."""
    with udpft.serve(samples, port=0, key_file=key) as running:
        yield running


# ------------------------------------------------------------------------------------ in memory


def test_a_key_may_be_in_no_file_at_all(samples: Path) -> None:
    key = Key()
    with Server(samples, port=0, key_file=key) as server:
        thread = Thread(target=server.run)
        thread.start()
        try:
            address = f"127.0.0.1:{server.port}"
            with Client(address, key_file=Key(key.secret)) as client:
                assert client.keyed
                assert client.read_bytes("2049") == sample(2049)
            with (
                Client(address, key_file=Key(), connect_timeout=0.2) as stranger,
                pytest.raises(TimedOut),
            ):
                stranger.read_bytes("2049")
        finally:
            server.stop()
            thread.join()


def test_no_text_of_a_key_shows_it() -> None:
    key = Key(bytes(range(32)))
    assert "\\x01" not in f"{key!r} {key}"
    assert bytes(range(32)).hex() not in f"{key!r} {key}"


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(UsageError):
        Key(b"short")


# ---------------------------------------------------------------------------------------- files


def test_a_new_key_is_64_digits_that_only_its_owner_reads(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        new_key_file(tmp_path / "key")
    finally:
        os.umask(before)
    text = (tmp_path / "key").read_text()
    assert len(text) == 65
    assert text.endswith("\n")
    assert read_key_file(tmp_path / "key") == bytes.fromhex(text)
    assert (tmp_path / "key").stat().st_mode & 0o7777 == 0o600
    assert not readable_by_others(tmp_path / "key")
    new_key_file(tmp_path / "another")
    assert read_key_file(tmp_path / "another") != read_key_file(tmp_path / "key")


@pytest.mark.parametrize(("code", "made"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_disk_without_sync_takes_a_key_and_a_broken_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, made: bool
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    if made:
        new_key_file(tmp_path / "key")
        assert len(read_key_file(tmp_path / "key")) == 32
    else:
        with pytest.raises(LocalWriteFailed, match="Input/output error"):
            new_key_file(tmp_path / "key")
        assert names(tmp_path) == []


def test_no_key_is_overwritten_not_even_through_a_link(key: Path, tmp_path: Path) -> None:
    before = key.read_text()
    (tmp_path / "link").symlink_to(key)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path in (key, tmp_path / "link", tmp_path / "dangling"):
        with pytest.raises(UsageError):
            new_key_file(path)
    assert key.read_text() == before
    assert names(tmp_path) == ["dangling", "key", "link"]


def test_a_folder_that_takes_no_key(tmp_path: Path) -> None:
    with pytest.raises(LocalWriteFailed):
        new_key_file(tmp_path / "no folder" / "key")


@pytest.mark.parametrize(
    "text", [b"", b"correct horse battery staple", b"0" * 63, b"0" * 65, b"g" * 64, b"0" * 99_999]
)
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(text)
    with pytest.raises(UsageError) as refused:
        read_key_file(path)
    said = f"{refused.value} {refused.value.hint}"
    assert "horse" not in said
    assert "0000" not in said


@pytest.mark.parametrize("byte", [0, 1, 0x42, 0xFF])
def test_a_key_of_one_byte_again_and_again_is_refused(tmp_path: Path, byte: int) -> None:
    # Of a disk that was never written, or typed: whoever tries a few keys tries these.
    path = tmp_path / "key"
    path.write_text(bytes([byte] * 32).hex() + "\n")
    for use in (read_key_file, client_channel, keyed_acceptor):
        with pytest.raises(UsageError, match="the same byte 32 times") as refused:
            use(path)
        assert "udpft key new" in refused.value.hint
    path.write_text(bytes([byte] * 31 + [byte ^ 1]).hex())
    assert read_key_file(path)


@given(
    key=st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 1),
    upper=st.booleans(),
    end=st.sampled_from(["", "\n", "\r\n"]),
)
def test_any_32_bytes_are_a_key(
    tmp_path_factory: pytest.TempPathFactory, key: bytes, upper: bool, end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-key"
    path.write_text((key.hex().upper() if upper else key.hex()) + end, newline="")
    assert read_key_file(path) == key


def test_a_key_file_that_is_not_there(tmp_path: Path, samples: Path) -> None:
    missing = tmp_path / "missing"
    for use in (
        lambda: connect("127.0.0.1", key_file=missing),
        lambda: udpft.serve(samples, port=0, key_file=missing),
    ):
        with pytest.raises(LocalReadFailed):
            use()
    assert not readable_by_others(missing)


def test_a_key_file_that_others_can_read_is_told_apart(key: Path) -> None:
    for mode, told in ((0o400, False), (0o640, True), (0o444, True)):
        key.chmod(mode)
        assert readable_by_others(key) is told


def test_without_cryptography_it_says_what_to_install(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(UsageError) as refused:
        connect("127.0.0.1", key_file=key)
    assert refused.value.hint == "pip install 'cryptography>=47'"


def test_aes_is_chosen_by_what_the_processor_says() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert fastest_suite() is (Suite.AES_GCM if "aes" in flags else Suite.CHACHA_POLY)


# ------------------------------------------------------------------------------------ transfers


@pytest.mark.parametrize("at_client", [True, False], ids=["joining", "singly"])
@pytest.mark.parametrize("at_server", [True, False], ids=["segmenting", "one-by-one"])
def test_every_size_arrives_exact_with_offloads_and_without(
    samples: Path, tmp_path: Path, key: Path, at_server: bool, at_client: bool
) -> None:
    with (
        udpft.serve(samples, port=0, offload=at_server, key_file=key) as server,
        connect(server.address, offload=at_client, key_file=key, chunk_size=2048) as client,
    ):
        for size in SIZES:
            result = client.fetch(str(size), tmp_path / str(size))
            assert (tmp_path / str(size)).read_bytes() == sample(size)
            assert (result.bytes, result.verified, result.chunk_size) == (size, True, 2048)
        assert client.ping() > 0
        assert client.fetch(str(LARGE), tmp_path / str(LARGE)).up_to_date
        with pytest.raises(NoSuchFile):
            client.fetch("missing", tmp_path / "missing")


def test_chunks_are_as_large_as_the_path_carries(samples: Path, tmp_path: Path, key: Path) -> None:
    with udpft.serve(samples, port=0, key_file=key) as server:
        result = udpft.get("4096", server=server.address, output=tmp_path, key_file=key)
    assert result.chunk_size > 8_192


@pytest.mark.parametrize("suite", list(Suite))
def test_both_suites(
    monkeypatch: pytest.MonkeyPatch, samples: Path, tmp_path: Path, key: Path, suite: Suite
) -> None:
    monkeypatch.setattr("udpft.keys.fastest_suite", lambda: suite)
    with udpft.serve(samples, port=0, key_file=key) as server:
        udpft.get(str(LARGE), server=server.address, output=tmp_path, key_file=key)
    assert (tmp_path / str(LARGE)).read_bytes() == sample(LARGE)


def test_the_largest_chunks(keyed: RunningServer, tmp_path: Path, key: Path) -> None:
    result = udpft.get(
        str(LARGE), server=keyed.address, output=tmp_path, key_file=key, chunk_size="auto"
    )
    assert result.path.read_bytes() == sample(LARGE)
    assert result.chunk_size > 16_000


def test_a_key_does_not_help_plain(samples: Path, tmp_path: Path, key: Path) -> None:
    with pytest.raises(UsageError):
        udpft.get("1", server="127.0.0.1", output=tmp_path, key_file=key, mode="plain")
    with pytest.raises(UsageError):
        udpft.serve(samples, port=0, key_file=key, plain="always")


def test_neither_content_nor_name_is_seen_on_the_way(tmp_path: Path, key: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    name = "confidential-report.txt"
    content = b"Nobody but us two may read this line of the report.\n" * 20_000
    (folder / name).write_bytes(content)
    seen: list[Seen] = []
    with (
        udpft.serve(folder, port=0, key_file=key) as server,
        LossyLink(server, loss=0.01, seed=3, watch=seen.append) as link,
    ):
        udpft.get(name, server=link.address, output=tmp_path, key_file=key)
    assert (tmp_path / name).read_bytes() == content
    secret = bytes.fromhex(key.read_text())
    assert sum(len(one.datagram) for one in seen) > len(content)
    for datagram, _, _ in seen:
        assert datagram[0] in list(KeyedType)
        for telling in (b"Nobody but us", b"confidential", secret, secret[:8]):
            assert telling not in datagram


# ----------------------------------------------------------------------------------- who is heard


def test_a_wrong_key_or_none_is_answered_by_silence(
    keyed: RunningServer, tmp_path: Path, key: Path
) -> None:
    new_key_file(tmp_path / "wrong")
    for options in ({}, {"key_file": tmp_path / "wrong"}):
        with pytest.raises(TimedOut) as silent:
            udpft.ping(keyed.address, connect_timeout=0.3, **options)  # type: ignore[arg-type]
        assert "key" in silent.value.hint
    assert udpft.ping(keyed.address, key_file=key) > 0


def test_a_keyed_server_serves_no_plain_and_answers_no_stranger(
    keyed: RunningServer, key: Path, stranger: socket.socket
) -> None:
    recorded = record_unkeyed_hello()
    for datagram in (b"1", b"2048\n", b"\x81" * 1400, b"\x91" * 1400, b"\x94" * 64, b"", *recorded):
        stranger.sendto(datagram, (keyed.host, keyed.port))
    assert udpft.ping(keyed.address, key_file=key) > 0  # what came before has been looked at
    stranger.setblocking(False)
    with pytest.raises(BlockingIOError):
        stranger.recv(1)


def record_unkeyed_hello() -> list[bytes]:
    """What a client without a key begins with."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, ThreadPoolExecutor(1) as pool:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        address = "{}:{}".format(*sock.getsockname())
        asking = pool.submit(udpft.ping, address, connect_timeout=0.1)
        hello = sock.recv(65_536)
        assert isinstance(asking.exception(PATIENCE_S), TimedOut)
    return [hello]


def test_a_server_without_a_key_is_told_from_one_that_is_not_there(
    server: RunningServer, tmp_path: Path, key: Path
) -> None:
    for ask in (
        lambda: udpft.ping(server.address, key_file=key),
        lambda: udpft.get("1", server=server.address, output=tmp_path, key_file=key),
    ):
        with pytest.raises(KeyRejected):
            ask()
    assert names(tmp_path) == ["key"]


def test_with_a_key_outsiders_are_served_too(
    samples: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "is_private", lambda _: False)
    with udpft.serve(samples, port=0, key_file=key) as server:
        udpft.get("1", server=server.address, output=tmp_path, key_file=key)
    assert (tmp_path / "1").read_bytes() == sample(1)
