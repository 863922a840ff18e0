"""Workers as processes of one server: spread, killed, replaced, limited and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, Server, run_udpft
from tests.loopback import HeldTransfer, assert_busy
from tests.plain_peers import ask
from tests.samples import LARGE, sample
from tests.server.test_metrics import fetch, free_port
from udpft.errors import ExitCode, ServerBusy, TimedOut
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.server.workers.supervisor import bind_all

WORKERS = ("--workers", "2")


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Server]:
    """A server of two workers."""
    with Server("serve", str(folder), *WORKERS, "--json", *arguments) as server:
        assert json.loads(server.line())["workers"] == 2
        yield server


def next_event(server: Server, kind: str) -> dict[str, Any]:
    """The next ``--json`` line of a kind."""
    while True:
        event: dict[str, Any] = json.loads(server.line())
        if event["event"] == kind:
            return event


def children_of(server: Server) -> list[int]:
    """Its processes, the oldest first."""
    process_id = server.process.pid
    text = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return [int(word) for word in text.split()]


def open_files(process_id: int, path: Path) -> int:
    """How often a process has a file open: once for each transfer of it."""
    folder = Path(f"/proc/{process_id}/fd")
    return sum(os.path.realpath(folder / fd) == str(path) for fd in os.listdir(folder))


def is_there(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until_gone(process_ids: list[int]) -> None:
    until = clock() + PATIENCE_S
    while any(map(is_there, process_ids)):
        assert clock() < until


def hold(server: Server, count: int) -> list[HeldTransfer]:
    return [HeldTransfer(Address("127.0.0.1", server.port), str(LARGE)) for _ in range(count)]


# ---------------------------------------------------------------------------------------- serving


def test_clients_are_spread_over_the_workers(samples: Path) -> None:
    with serving(samples) as server:
        first, second = children_of(server)
        hold(server, 24)
        served = [open_files(one, samples / str(LARGE)) for one in (first, second)]
        assert sum(served) == 24
        assert min(served) > 0


@pytest.mark.parametrize("keyed", [False, True])
def test_many_at_once_are_exact(samples: Path, tmp_path: Path, *, keyed: bool) -> None:
    more: dict[str, Any] = {}
    arguments: list[str] = []
    if keyed:
        run_udpft("key", "new", str(tmp_path / "key"))
        more, arguments = {"key_file": tmp_path / "key"}, ["--key-file", str(tmp_path / "key")]
    with serving(samples, *arguments) as server:

        def fetch_one(number: int) -> bool:
            into = tmp_path / str(number)
            udpft.get(str(LARGE), server=server.address, output=into, **more)
            return into.read_bytes() == sample(LARGE)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(fetch_one, range(12)))
        for _ in range(12):
            assert next_event(server, "done")["verified"]
        assert server.stop() == ExitCode.DONE


def test_plain_files_come_from_whichever_worker(samples: Path) -> None:
    with serving(samples) as server:
        for _ in range(16):
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                sock.settimeout(PATIENCE_S)
                assert b"".join(ask(sock, ("127.0.0.1", server.port), "4096")) == sample(4096)


def test_a_tree_goes_there_and_comes_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(30):
        (tree / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (tree / str(number % 3) / str(number)).write_bytes(sample(1000 + number))
    (tmp_path / "stored").mkdir()
    with serving(tmp_path / "stored", "--writable") as server:
        udpft.put(tree, server=server.address, recursive=True)
        udpft.get("tree", server=server.address, recursive=True, output=tmp_path / "back")
    compared = subprocess.run(
        ["diff", "-r", str(tree), str(tmp_path / "back/tree")], capture_output=True, check=False
    )
    assert compared.stdout == b""


# ----------------------------------------------------------------------------------------- deaths


def test_a_worker_that_is_killed_is_replaced_and_all_transfers_are_exact(
    samples: Path, tmp_path: Path
) -> None:
    with serving(samples, "--max-rate", "10M") as server:
        workers = children_of(server)

        def fetch_one(number: int) -> bool:
            into = tmp_path / str(number)
            udpft.get(str(LARGE), server=server.address, output=into)
            return into.read_bytes() == sample(LARGE)

        with ThreadPoolExecutor(12) as pool:
            coming = [pool.submit(fetch_one, number) for number in range(12)]
            until = clock() + PATIENCE_S
            while not all(open_files(one, samples / str(LARGE)) for one in workers):
                assert clock() < until
            os.kill(workers[0], signal.SIGKILL)
            replaced = next_event(server, "replaced")
            assert replaced["process_id"] == workers[0]
            assert replaced["worker"] == 1
            assert replaced["how"] == "was killed by signal 9"
            assert children_of(server) == [workers[1], replaced["successor"]]
            assert all(one.result(PATIENCE_S) for one in coming)
        assert server.stop() == ExitCode.DONE


def test_an_upload_survives_the_death_of_its_worker(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(sample(LARGE))
    stored = tmp_path / "stored"
    stored.mkdir()
    with serving(stored, "--writable") as server, ThreadPoolExecutor(1) as pool:
        put = pool.submit(udpft.put, tmp_path / "new", server=server.address, limit_rate="5M")
        until = clock() + PATIENCE_S
        while not (busy := [one for one in children_of(server) if holds_part(one, stored)]):
            assert clock() < until
        os.kill(busy[0], signal.SIGKILL)
        assert put.result(PATIENCE_S).verified
    assert (stored / "new").read_bytes() == sample(LARGE)


def holds_part(process_id: int, folder: Path) -> bool:
    return any(open_files(process_id, path) for path in folder.iterdir())


def test_room_that_the_dead_took_is_free_again(samples: Path, tmp_path: Path) -> None:
    with serving(samples, "--max-clients", "4") as server:
        hold(server, 4)
        for one in children_of(server):
            os.kill(one, signal.SIGKILL)
        for _ in range(2):
            next_event(server, "replaced")
        udpft.get("1", server=server.address, output=tmp_path, connect_timeout=PATIENCE_S)


def test_workers_end_when_their_supervisor_is_killed(samples: Path) -> None:
    with serving(samples) as server:
        workers = children_of(server)
        server.process.kill()
        until_gone(workers)


# ----------------------------------------------------------------------------------------- limits


def test_a_limit_of_clients_is_of_all_workers(samples: Path, tmp_path: Path) -> None:
    with serving(samples, "--max-clients", "3") as server:
        hold(server, 3)
        for _ in range(8):
            assert_busy(server.address, tmp_path)


def test_metrics_are_sums(samples: Path, tmp_path: Path) -> None:
    page = f"127.0.0.1:{free_port()}"
    with serving(samples, "--metrics", page) as server:
        assert server.log_line().endswith(f" metrics on http://{page}/metrics")
        for _ in range(12):
            udpft.get("2049", server=server.address, output=tmp_path, force=True)
            (tmp_path / "2049").unlink()
        hold(server, 12)
        done = 'udpft_transfers_total{direction="download",mode="reliable",outcome="done"}'
        until = clock() + PATIENCE_S
        while (figures := fetch(page)).get(done) != 12:
            assert clock() < until
        assert figures["udpft_sessions"] == 12
        assert figures['udpft_file_bytes_total{direction="download",mode="reliable"}'] == 12 * 2049
        # The page, too, is a process that is replaced.
        os.kill(children_of(server)[2], signal.SIGKILL)
        assert next_event(server, "replaced")["worker"] == 0
        assert wait_for(page)["udpft_sessions"] == 12


def wait_for(page: str) -> dict[str, float]:
    """The figures, as soon as somebody shows them."""
    until = clock() + PATIENCE_S
    while True:
        try:
            return fetch(page)
        except OSError:
            assert clock() < until


def test_each_line_of_the_log_is_whole(samples: Path, tmp_path: Path) -> None:
    with serving(samples) as server:

        def fetch_some(number: int) -> None:
            for turn in range(5):
                into = tmp_path / f"{number}-{turn}"
                udpft.get("1", server=server.address, output=into)

        threads = [threading.Thread(target=fetch_some, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(30):
            assert json.loads(server.line())["event"] == "done"
            assert "reliable '1': 1 B in" in server.log_line()


# ---------------------------------------------------------------------------------------- its end


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_idle_server(samples: Path, signum: int) -> None:
    with serving(samples) as server:
        workers = children_of(server)
        assert server.stop(signum) == ExitCode.DONE
        assert server.rest_of_log().endswith(" stopped\n")
        until_gone(workers)


def test_ctrl_c_reaches_the_workers_too_and_they_drain(samples: Path, tmp_path: Path) -> None:
    with serving(samples, "--max-rate", "5M") as server, ThreadPoolExecutor(1) as pool:
        get = pool.submit(udpft.get, str(LARGE), server=server.address, output=tmp_path / "big")
        until = clock() + PATIENCE_S
        while not any(open_files(one, samples / str(LARGE)) for one in children_of(server)):
            assert clock() < until
        for one in [server.process.pid, *children_of(server)]:
            with suppress(ProcessLookupError):  # one without work may be gone by now
                os.kill(one, signal.SIGINT)
        assert get.result(PATIENCE_S).verified
        assert server.exit_code() == ExitCode.DONE
        assert next_event(server, "done")["verified"]


def test_a_second_signal_does_not_wait_for_transfers(samples: Path, tmp_path: Path) -> None:
    with serving(samples) as server:
        workers = children_of(server)

        def ask_on() -> None:
            while True:
                with suppress(TimedOut):  # a busy machine
                    udpft.get("1", server=server.address, output=tmp_path, connect_timeout=0.2)

        hold(server, 4)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ServerBusy, match="is stopping"):
            ask_on()
        assert server.stop() == ExitCode.TERMINATED
        until_gone(workers)


# ----------------------------------------------------------------------------------- what is odd


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing"], ExitCode.READ_FAILED, "there is no folder missing"),
        ([".", "--host", "192.0.2.1"], ExitCode.USAGE, "cannot bind 192.0.2.1:"),
        ([".", "--plain-rate", "0"], ExitCode.USAGE, "above 0"),
        ([".", "--quota", "5"], ExitCode.USAGE, "--writable takes them"),
        ([".", "--key-file", "missing"], ExitCode.READ_FAILED, "cannot read the key file"),
        ([".", "--metrics", "192.0.2.1:80"], ExitCode.USAGE, "for metrics"),
    ],
)
def test_it_does_not_begin(
    arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_udpft("serve", "-p", "0", *WORKERS, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_is_not_traced(tmp_path: Path) -> None:
    page = tmp_path / "trace.html"
    done = run_udpft("serve", ".", "-p", "0", *WORKERS, "--trace", str(page))
    assert done.returncode == ExitCode.USAGE
    assert "--trace follows one process" in done.stderr
    assert not page.exists()


@pytest.mark.parametrize("workers", ["0", "257", "many", "1.5"])
def test_a_number_of_workers_makes_sense(workers: str) -> None:
    done = run_udpft("serve", ".", "--workers", workers)
    assert done.returncode == ExitCode.USAGE
    assert "neither auto nor a number from 1 to 256" in done.stderr


def test_nobody_joins_a_port_that_is_taken(samples: Path) -> None:
    with serving(samples) as server:
        for number in ("1", "2"):
            done = run_udpft("serve", ".", "-p", str(server.port), "--workers", number)
            assert done.returncode == ExitCode.USAGE
            assert "Address already in use" in done.stderr


def test_ipv6_sockets_share_a_port_and_have_both_families() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    sockets = bind_all("::", 0, 3)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        v6only = socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        assert [one.getsockopt(*v6only) for one in sockets] == [0, 0, 0]
    finally:
        for one in sockets:
            one.close()


def test_one_worker_is_one_process_and_imports_nothing_of_them(samples: Path) -> None:
    with Server("serve", str(samples)) as server:
        assert children_of(server) == []
    script = "import sys; from udpft.cli.main import run; run(['serve', 'missing']); "
    script += "sys.exit(any(name.startswith('udpft.server.workers') for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0
