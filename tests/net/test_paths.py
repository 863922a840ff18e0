"""Two hosts and the path between them: namespaces joined by a veth pair. Root, Linux."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.links import Namespace, veth_pair
from tests.cli.processes import PATIENCE_S, environment
from tests.samples import sample

SIZE = 20_000_000
UDPFT = [sys.executable, "-m", "udpft"]


@contextmanager
def hosts(mtu: int) -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts on a path of this MTU; the test is skipped where they cannot be made."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("two hosts take root and iproute2")
    with ExitStack() as stack:
        try:
            pair = stack.enter_context(veth_pair(mtu))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no namespaces here: {error}")
        yield pair


@contextmanager
def serving(host: Namespace, folder: Path) -> Iterator[str]:
    """``udpft serve`` on a host; its address."""
    command = [*UDPFT, "serve", str(folder), "--host", host.address, "-p", "0", "--json"]
    with subprocess.Popen(
        host.command(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        assert process.stdout is not None
        start = json.loads(process.stdout.readline())
        try:
            yield f"{host.address}:{start['port']}"
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(PATIENCE_S)


def get(host: Namespace, *arguments: str) -> dict[str, Any]:
    """``udpft get`` on a host; what it says of its one file."""
    done = subprocess.run(
        host.command([*UDPFT, "get", *arguments, "--json"]),
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["ok"], done
    file: dict[str, Any] = summary["files"][0]
    return file


def fragments_made(host: Namespace) -> int:
    """FragCreates of a host's IP layer, as nstat shows it."""
    header, values = re.findall(r"^Ip: (.*)$", host.run("cat", "/proc/net/snmp"), re.MULTILINE)
    return int(dict(zip(header.split(), values.split(), strict=True))["FragCreates"])


@pytest.mark.parametrize(
    ("mtu", "asked", "chunk_size"),
    [(1500, "2048", 1448), (1500, "auto", 1448), (9000, "2048", 2048), (9000, "auto", 8944)],
)
def test_a_reliable_transfer_is_never_fragmented(
    tmp_path: Path, mtu: int, asked: str, chunk_size: int
) -> None:
    (tmp_path / "file").write_bytes(sample(SIZE))
    with hosts(mtu) as (left, right), serving(right, tmp_path) as address:
        before = fragments_made(left), fragments_made(right)
        out = str(tmp_path / "out")
        file = get(left, "file", "-s", address, "-o", out, "--chunk-size", asked)
        assert (fragments_made(left), fragments_made(right)) == before
    assert file["chunk_size"] == chunk_size
    assert file["verified"]
    assert (tmp_path / "out").read_bytes() == sample(SIZE)


def test_a_plain_transfer_is_fragmented_by_the_network(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(sample(4096))
    with hosts(1500) as (left, right), serving(right, tmp_path) as address:
        file = get(left, "file", "-s", address, "-o", str(tmp_path / "out"), "--mode", "plain")
        assert fragments_made(right) == 4  # two of each full datagram
    assert not file["verified"]
    assert (tmp_path / "out").read_bytes() == sample(4096)
