"""Captures by tcpdump of what the kernel bundles, between two hosts: each datagram is shown."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.links import Namespace
from tests.cli.processes import PATIENCE_S
from tests.contrib.capture import Dissected, dissect, needs_tshark
from tests.net.test_paths import get, hosts, serving
from tests.samples import sample

pytestmark = [
    needs_tshark,
    pytest.mark.skipif(not shutil.which("tcpdump"), reason="needs tcpdump"),
]

SIZE = 1_000_000
FIN_ACK = b"\x87\0\0\0"


@contextmanager
def capturing(host: Namespace, path: Path) -> Iterator[None]:
    """Capture all UDP of a host."""
    words = ("--immediate-mode", "-i", "any", "-U", "-s", "0", "-B", "20000")
    command = ["tcpdump", *words, "-w", str(path), "udp"]
    with subprocess.Popen(host.command(command), stderr=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            if b"listening on" in line:
                break
        try:
            yield
            until = time.monotonic() + PATIENCE_S
            while FIN_ACK not in path.read_bytes() and time.monotonic() < until:
                continue  # it is written down after it has come
        finally:
            process.send_signal(signal.SIGINT)
            process.stderr.read()


def numbers(shown: list[Dissected]) -> list[int]:
    return [int(one.one("udpft.pn")) for one in shown if one.all("udpft.pn")]


def test_each_datagram_of_a_bundle_is_shown_with_its_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(sample(SIZE))
    out, trace = str(tmp_path / "out"), str(tmp_path / "left.pcapng")
    with (
        hosts(1500) as (left, right),
        serving(right, tmp_path) as address,
        capturing(left, tmp_path / "left.pcap"),
    ):
        file = get(left, "file", "-s", address, "-o", out, "--trace", trace)
    assert file["chunk_size"] == 1448
    first = ("-o", "udp.try_heuristic_first:TRUE")  # a free port may be another protocol's
    shown = dissect(tmp_path / "left.pcap", *first)
    assert {one.one("udpft.check.status") for one in shown} == {"1"}
    packets = [one for one in shown if one.all("udpft.pn")]
    assert len({one.frame for one in packets}) < len(packets), "nothing was bundled"
    chunks = {int(one.one("udpft.chunk")) for one in packets}
    assert chunks == set(range(SIZE // 1448 + 1))
    traced = numbers(dissect(tmp_path / "left.pcapng", *first))
    assert numbers(shown)[: len(traced)] == traced  # some may have come once the client had left
