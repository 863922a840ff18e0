"""``udpft get HOST:PATH`` through a real sshd on another host."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.links import Namespace
from bench.links.namespaces import DEVICE, run
from tests.cli.processes import PATIENCE_S, environment
from tests.remote.shells import far_ends, script
from tests.remote.sshd import PORT, Hosts, ended_within, ssh_hosts
from tests.remote.test_session import ODD
from tests.samples import sample
from udpft.errors import ExitCode
from udpft.net.clock import clock
from udpft.remote.asked import label_of

LARGE = 12_000_000
HALF = LARGE // 3
SLOWLY = ["--limit-rate", "3M"]


@pytest.fixture(scope="module")
def all_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with ssh_hosts(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture
def hosts(all_hosts: Hosts) -> Hosts:
    """The two hosts, with nothing in the home there and the folder here."""
    for folder in (all_hosts.home, all_hosts.local):
        shutil.rmtree(folder)
        folder.mkdir()
    return all_hosts


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# ---------------------------------------------------------------------------------- what it brings


def test_files_of_odd_names_come_and_go(hosts: Hosts) -> None:
    for number, name in enumerate(ODD):
        (hosts.home / name).write_bytes(sample(2049 + number))
    hosts.run("get", *(hosts.name(name) for name in ODD))
    assert tree(hosts.local) == tree(hosts.home)
    hosts.run("put", "--", *ODD, hosts.name("new folder/"))
    assert tree(hosts.home / "new folder") == tree(hosts.local)
    assert far_ends(hosts.home) == []


def test_paths_from_the_home_and_from_the_root(hosts: Hosts) -> None:
    (hosts.home / "d").mkdir()
    (hosts.home / "d" / "f").write_bytes(sample(4096))
    url = f"ssh://root@{hosts.there.address}:{PORT}{hosts.home}/d/f"
    names = [hosts.name("d/f"), hosts.name("~/d/f"), hosts.name(f"{hosts.home}/d/f"), url]
    for number, name in enumerate(names):
        hosts.run("get", name, "-o", str(number))
        assert (hosts.local / str(number)).read_bytes() == sample(4096)
    hosts.run("put", "0", hosts.name("~/e"))
    hosts.run("put", "0", hosts.name(f"{hosts.home}/g"))
    assert tree(hosts.home)["e"] == tree(hosts.home)["g"] == sample(4096)


def test_trees_come_and_go(hosts: Hosts) -> None:
    for number, name in enumerate([*ODD, ".hidden"]):
        (hosts.home / "t" / name).mkdir(parents=True)
        (hosts.home / "t" / name / name).write_bytes(sample(2049 + number))
    hosts.run("get", "-r", hosts.name("t"))
    assert tree(hosts.local / "t") == tree(hosts.home / "t")
    hosts.run("get", "-r", hosts.name("t/"), "-o", "flat")
    assert tree(hosts.local / "flat") == tree(hosts.home / "t")
    hosts.run("put", "-r", "t", hosts.name("new"))
    assert tree(hosts.home / "new" / "t") == tree(hosts.local / "t")
    hosts.run("put", "-r", "t/", hosts.name("flat"))
    assert tree(hosts.home / "flat") == tree(hosts.local / "t")


def test_the_way_may_lead_over_another_host(hosts: Hosts) -> None:
    (hosts.home / "f").write_bytes(sample(4096))
    assert hosts.udpft("get", hosts.name("f"), rsh=f"{hosts.rsh} -J jump").returncode == 0
    assert tree(hosts.local) == tree(hosts.home)
    assert hosts.udpft("put", "f", hosts.name("g"), rsh=f"{hosts.rsh} -J jump").returncode == 0
    assert (hosts.home / "g").read_bytes() == sample(4096)


def test_a_name_that_only_ssh_knows(hosts: Hosts) -> None:
    (hosts.home / "f").write_bytes(sample(4096))
    rsh = f"ssh -F {hosts.folder}/ssh_config"
    assert hosts.udpft("get", "root@jump:f", rsh=rsh).returncode == 0
    assert tree(hosts.local) == tree(hosts.home)


# ------------------------------------------------------------------------------------ how it ends


def victim(hosts: Hosts, name: str, client: int, shell: int) -> int:
    """The process of a name: of the client, the shell or the far end."""
    [far] = far_ends(hosts.home)
    return {"client": client, "ssh": shell, "far end": far}[name]


@pytest.mark.parametrize("killed", ["client", "ssh", "far end"])
@pytest.mark.parametrize("command", ["get", "put"])
def test_a_killed_transfer_is_gone_on_with(hosts: Hosts, command: str, killed: str) -> None:
    source, target = hosts.home / "f", hosts.local / "f"
    words = [command, hosts.name("f")]
    if command == "put":
        source, target = target, source
        words = [command, "f", hosts.name("f")]
    source.write_bytes(sample(LARGE))
    with hosts.started(*words, *SLOWLY) as transfer:
        transfer.await_bytes(HALF)
        ends = far_ends(hosts.home)
        os.kill(victim(hosts, killed, transfer.process.pid, transfer.shell()), signal.SIGKILL)
        assert ended_within(ends, 15.0)
        if killed != "client":
            code, summary = transfer.end()
            assert code == ExitCode.SHELL_FAILED
            assert summary["files"][0]["hint"] == "run the same command again to resume"
    assert not target.exists()
    [file] = hosts.run(*words)
    assert file["resumed_bytes"] > LARGE // 10
    assert target.read_bytes() == sample(LARGE)


@pytest.mark.parametrize("command", ["get", "put"])
def test_a_cut_cable_ends_the_far_end_and_not_its_part_file(hosts: Hosts, command: str) -> None:
    (hosts.local / "f").write_bytes(sample(LARGE))
    shutil.copyfile(hosts.local / "f", hosts.home / "g")
    words = ["get", hosts.name("g")] if command == "get" else ["put", "f", hosts.name("h")]
    with hosts.started(*words, *SLOWLY) as transfer:
        transfer.await_bytes(HALF)
        ends = far_ends(hosts.home)
        run("ip", "-n", hosts.there.name, "link", "set", DEVICE, "down")
        try:
            assert ended_within(ends, 15.0)
        finally:
            run("ip", "-n", hosts.there.name, "link", "set", DEVICE, "up")
        transfer.process.kill()
    [file] = hosts.run(*words)
    assert file["resumed_bytes"] > LARGE // 10
    place = hosts.local / "g" if command == "get" else hosts.home / "h"
    assert place.read_bytes() == sample(LARGE)


def test_a_ctrl_c_is_told_as_such(hosts: Hosts) -> None:
    (hosts.home / "f").write_bytes(sample(LARGE))
    with hosts.started("get", hosts.name("f"), *SLOWLY) as transfer:
        transfer.await_bytes(HALF)
        ends = far_ends(hosts.home)
        for pid in (transfer.shell(), transfer.process.pid):  # as a terminal does it
            os.kill(pid, signal.SIGINT)
        code, _ = transfer.end()
        assert code == ExitCode.INTERRUPTED
        assert ended_within(ends, 15.0)


# ---------------------------------------------------------------------------------- who knows what


def hiding_places(hosts: Hosts, spare: Path) -> Iterator[tuple[str, bytes]]:
    """All that others may read of a transfer: words and environments of processes, logs, files."""
    for entry in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                yield f"{entry}/{name}", (entry / name).read_bytes()
            except OSError:
                continue
    for path in [*hosts.folder.rglob("*"), *Path(os.environ.get("TMPDIR", "/tmp")).glob("*")]:
        try:
            if path.is_file() and path != spare and path.stat().st_size < 2 * LARGE:
                yield str(path), path.read_bytes()
        except OSError:
            continue


FETCH = """
import sys
from udpft.client.client import Client
from udpft.errors import UdpftError
from udpft.keys import Key

secret, server, name, local = sys.stdin.read().split()
key = None if secret == "none" else Key(bytes.fromhex(secret))
try:
    with Client(server, key_file=key, connect_timeout=1) as client:
        print(getattr(client, sys.argv[1])(name, local).bytes)
except UdpftError as error:
    print(type(error).__name__)
"""


def as_stranger(hosts: Hosts, method: str, *words: str) -> str:
    """Ask the far end from a process of its own; what comes of it."""
    done = subprocess.run(
        hosts.here.command([sys.executable, "-c", FETCH, method]),
        input=" ".join(words).encode(),
        capture_output=True,
        timeout=PATIENCE_S,
        cwd=hosts.local,
        env=environment(),
    )
    return done.stdout.decode().strip()


def test_the_key_is_nowhere_and_nothing_is_served_without_it(hosts: Hosts) -> None:
    (hosts.home / "f").write_bytes(sample(LARGE))
    (hosts.home / "secret").write_bytes(sample(1))
    copy = hosts.folder / "request"
    shell = script(hosts.folder / "shell", f'#!/bin/sh\ntee {copy} | {hosts.rsh} "$@"\n')
    slowly = ["--limit-rate", "400k"]
    with hosts.started("get", hosts.name("f"), *slowly, rsh=str(shell)) as transfer:
        server = transfer.event("start")["server"]
        transfer.await_bytes(1)
        [key] = re.findall(r'"key": "([0-9a-f]{64})"', copy.read_text())
        found = dict(hiding_places(hosts, copy))
        assert any(b"--for-shell" in text for text in found.values())
        assert str(hosts.log) in found
        for form in (key.encode(), bytes.fromhex(key)):
            assert [place for place, text in found.items() if form in text] == []

        label = label_of(str(hosts.home.resolve()))
        for secret in ("none", "11" * 16 + "22" * 16):
            assert as_stranger(hosts, "fetch", secret, server, f"{label}/f", "x") == "TimedOut"
        assert as_stranger(hosts, "fetch", key, server, f"{label}/secret", "x") == "NoSuchFile"
        assert as_stranger(hosts, "fetch", key, server, "secret", "x") == "NoSuchFile"
        assert as_stranger(hosts, "store", key, server, "f", "f") != str(LARGE)
        assert as_stranger(hosts, "fetch", key, server, f"{label}/f", "x") == str(LARGE)
        assert transfer.process.poll() is None
    copy.unlink()


# ------------------------------------------------------------------------------ where it cannot be


@contextmanager
def firewall(host: Namespace, *rules: str) -> Iterator[None]:
    """Rules of the INPUT chain, of words each."""
    if not shutil.which("iptables"):
        pytest.skip("there is no iptables")
    try:
        for rule in rules:
            host.run("iptables", "-A", "INPUT", *rule.split())
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no firewall: {error.stderr}")
    try:
        yield
    finally:
        host.run("iptables", "-F", "INPUT")


@pytest.mark.parametrize("how", ["DROP", "REJECT"])
def test_udp_that_is_blocked_is_told_with_the_port_to_open(hosts: Hosts, how: str) -> None:
    (hosts.home / "f").write_bytes(sample(4096))
    ports = ["--ports", "60000-60010"]
    with firewall(hosts.there, "-p udp --dport 60000:60010 -j ACCEPT", f"-p udp -j {how}"):
        began = clock()
        done = hosts.udpft("get", hosts.name("f"))
        assert done.returncode == ExitCode.TIMED_OUT
        assert clock() < began + 10.0
        error, hint = done.stderr.splitlines()
        [port] = re.findall(r"UDP port (\d+)$", error)
        assert hint.startswith(f"hint: open UDP port {port} ")
        assert "--ports 60000-60010" in hint
        hosts.run("get", hosts.name("f"), *ports)
        assert tree(hosts.local) == tree(hosts.home)
    with firewall(hosts.there, f"-p udp -j {how}"):
        done = hosts.udpft("get", hosts.name("f"), *ports)
        assert done.returncode == ExitCode.TIMED_OUT
        assert "60000 to 60010" in done.stderr.splitlines()[1]
    assert far_ends(hosts.home) == []


def test_udpft_that_is_missing_is_told_with_the_line_that_installs_it(hosts: Hosts) -> None:
    for command in ("no-such-udpft", f"{sys.executable} -m udpft.nothing"):
        done = hosts.udpft("get", "--remote-udpft", command, hosts.name("f"))
        assert done.returncode == ExitCode.SHELL_FAILED
        error, hint = done.stderr.splitlines()
        assert error.startswith(f"udpft: there is no udpft on root@{hosts.there.address}: ")
        assert "pip install '.[keys]'" in hint


def test_an_ssh_that_fails_is_told_in_its_own_words(hosts: Hosts) -> None:
    done = hosts.udpft("get", hosts.name("f"), rsh=f"ssh -F {hosts.folder}/ssh_config -p 1")
    assert done.returncode == ExitCode.SHELL_FAILED
    assert "Connection refused" in done.stderr.splitlines()[0]
    stranger = f"ssh -F {hosts.folder}/ssh_config -p {PORT} -i {hosts.folder}/host_key"
    done = hosts.udpft("get", hosts.name("f"), rsh=stranger)
    assert done.returncode == ExitCode.SHELL_FAILED
    assert "Permission denied (publickey" in done.stderr.splitlines()[0]
