"""Metrics of a server, fetched over HTTP as Prometheus would."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

import udpft
from tests.cli.processes import Server, run_udpft
from tests.samples import PATIENCE_S
from udpft.cli.main import run
from udpft.errors import ExitCode, NoSuchFile, PartialTransfer, UsageError
from udpft.net.address import Address
from udpft.outcome.served import Served
from udpft.server.metrics import MAX_CONNECTIONS, Metrics

LOOPBACK = Address("127.0.0.1", 0)


def fetch(address: object) -> dict[str, float]:
    """The page, as a dictionary from each figure's name and labels to its value."""
    with urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as page:
        lines = page.read().decode().splitlines()
    split = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in split}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def served(**fields: object) -> Served:
    plain = {"name": "a", "peer": "p", "mode": "reliable", "bytes": 100, "bytes_sent": 140}
    rest = {"seconds": 0.2, "resent_packets": 3, "verified": True, "error": None}
    return Served(**{**plain, **rest, **fields})  # type: ignore[arg-type]


def test_transfers_are_counted_by_outcome_and_mode() -> None:
    with Metrics(LOOPBACK, transfers=lambda: 7, drops=lambda: 5) as metrics:
        metrics.count(served(dropped_packets=2))
        metrics.count(served(verified=False))
        metrics.count(served(mode="plain", verified=False, resent_packets=0))
        metrics.count(served(bytes_received=60, resent_packets=0))
        metrics.count(served(error=PartialTransfer("gone"), bytes_sent=50))
        figures = fetch(metrics.address)

    def value(name: str, mode: str = "reliable", direction: str = "download", **more: str) -> float:
        labels = {"direction": direction, "mode": mode, **more}
        written = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
        return figures[f"udpft_{name}{{{written}}}"]

    assert value("transfers_total", outcome="done") == 1
    assert value("transfers_total", outcome="unconfirmed") == 1
    assert value("transfers_total", outcome="partial") == 1
    assert value("transfers_total", mode="plain", outcome="done") == 1
    assert value("transfers_total", direction="upload", outcome="done") == 1
    assert value("file_bytes_total") == 250
    assert value("file_bytes_total", direction="upload") == 60
    assert value("resent_packets_total") == 9
    assert value("transfer_seconds_count") == 3
    assert value("transfer_seconds_sum") == pytest.approx(0.6)
    assert value("transfer_seconds_bucket", le="0.1") == 0
    assert value("transfer_seconds_bucket", le="0.5") == 3
    assert figures["udpft_client_dropped_datagrams_total"] == 2
    assert figures["udpft_server_dropped_datagrams"] == 5
    assert figures["udpft_sessions"] == 7


def test_a_server_shows_what_it_does(samples: Path, tmp_path: Path) -> None:
    page = f"127.0.0.1:{free_port()}"
    with Server("serve", str(samples), "--metrics", page) as server:
        assert server.log_line().endswith(f" metrics on http://{page}/metrics")
        for size in ("2049", "1"):
            udpft.get(size, server=server.address, output=tmp_path)
        with pytest.raises(NoSuchFile):
            udpft.get("none", server=server.address, output=tmp_path)
        figures = fetch(page)
        assert server.stop() == ExitCode.DONE
    done = 'udpft_transfers_total{direction="download",mode="reliable",outcome="done"}'
    assert figures[done] == 2
    assert figures['udpft_file_bytes_total{direction="download",mode="reliable"}'] == 2050
    assert figures["udpft_sessions"] == 0
    assert figures["process_cpu_seconds_total"] > 0
    with pytest.raises(OSError, match="refused"):
        fetch(page)


def test_a_place_that_is_taken_is_told() -> None:
    with Metrics(LOOPBACK, transfers=lambda: 0, drops=lambda: 0) as metrics:
        done = run_udpft("serve", ".", "-p", "0", "--metrics", str(metrics.address))
    assert done.returncode == ExitCode.USAGE
    error, hint = done.stderr.splitlines()
    assert re.fullmatch(r"udpft: cannot bind \S+ for metrics: Address already in use", error)
    assert hint.startswith("hint: --metrics takes HOST:PORT")


@pytest.mark.parametrize("place", ["no.invalid:1", "192.0.2.1:80"])
def test_a_place_that_is_not_here_is_told(place: str) -> None:
    host, _, port = place.partition(":")
    with pytest.raises(UsageError, match="cannot bind"):
        Metrics(Address(host, int(port)), transfers=lambda: 0, drops=lambda: 0)


def test_the_package_that_is_missing_is_named(
    samples: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "udpft.server.metrics")
    assert run(["serve", str(samples), "-p", "0", "--metrics", "127.0.0.1:1"]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error.endswith("metrics need the package prometheus-client, which is not installed")
    assert hint == "hint: pip install 'prometheus-client>=0.19'"


def test_a_server_without_metrics_does_without_the_package() -> None:
    script = "import sys; from udpft.cli.main import run; run(['serve', '--help']); "
    script += "sys.exit('prometheus_client' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], timeout=PATIENCE_S, check=False).returncode
        == 0
    )


def test_connections_that_say_nothing_keep_nobody_from_the_page() -> None:
    with Metrics(LOOPBACK, transfers=lambda: 7, drops=lambda: 5) as metrics, ExitStack() as stack:
        threads = threading.active_count()
        place = metrics.address.host, metrics.address.port
        for _ in range(5 * MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(place, PATIENCE_S))
        assert fetch(metrics.address)["udpft_sessions"] == 7
        assert len(metrics._server._open) <= MAX_CONNECTIONS  # type: ignore[attr-defined]
        assert threading.active_count() < threads + 2 * MAX_CONNECTIONS


def test_a_connection_has_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udpft.server.metrics._Handler.timeout", 0.05)
    with Metrics(LOOPBACK, transfers=lambda: 7, drops=lambda: 5) as metrics:
        place = metrics.address.host, metrics.address.port
        with socket.create_connection(place, PATIENCE_S) as idle:
            assert idle.recv(1) == b""
        assert metrics._server._open == {}  # type: ignore[attr-defined]


def test_no_thread_for_a_connection_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Metrics(LOOPBACK, transfers=lambda: 7, drops=lambda: 5) as metrics:
        place = metrics.address.host, metrics.address.port
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with socket.create_connection(place, PATIENCE_S) as refused:
                assert refused.recv(1) == b""
        assert fetch(metrics.address)["udpft_sessions"] == 7
