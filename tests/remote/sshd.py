"""A real sshd on a host of its own: a network namespace at the end of a cable. Root, Linux."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import pytest

from bench.links import Namespace, veth_pair
from tests.cli.processes import PATIENCE_S, environment
from tests.remote.shells import script
from udpft.net.clock import clock

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
PORT = 2222
_ROOT = Path(__file__).parents[2]

_SSHD_CONFIG = """\
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
LogLevel DEBUG3
SetEnv HOME={home} PATH={bin}:/usr/bin:/bin PYTHONPATH={root}
"""

_SSH_CONFIG = """\
Host *
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
  IdentitiesOnly yes
Host jump
  HostName {address}
  Port {port}
  IdentityFile {folder}/key
"""


class Hosts(NamedTuple):
    """Two hosts: this one, and the one with the sshd.

    ``home``: of the account over there. ``local``: the working directory here. ``log``: of the
    sshd. ``folder``: keys and configurations.
    """

    here: Namespace
    there: Namespace
    home: Path
    local: Path
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "sshd.log"

    @property
    def rsh(self) -> str:
        """The remote shell, for ``-e``."""
        return f"ssh -F {self.folder}/ssh_config -p {PORT} -i {self.folder}/key"

    def name(self, path: str) -> str:
        """A path over there."""
        return f"root@{self.there.address}:{path}"

    def command(self, *arguments: str, rsh: str = "") -> list[str]:
        """Command line of udpft here."""
        command, *rest = arguments
        words = [sys.executable, "-m", "udpft", command, "-e", rsh or self.rsh, *rest]
        return self.here.command(words)

    def udpft(
        self, *arguments: str, rsh: str = "", stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run udpft here to its end."""
        done = subprocess.run(
            self.command(*arguments, rsh=rsh),
            input=stdin,
            capture_output=True,
            cwd=self.local,
            timeout=PATIENCE_S * 2,
            env=environment(),
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def run(self, *arguments: str) -> list[dict[str, Any]]:
        """Run udpft, which ends well; what it says of its files."""
        done = self.udpft(arguments[0], "--json", *arguments[1:])
        summary = json.loads(done.stdout.splitlines()[-1])
        assert summary["ok"], (done.stdout, done.stderr)
        files: list[dict[str, Any]] = summary["files"]
        return files

    def started(self, *arguments: str, rsh: str = "") -> Transfer:
        """Start udpft here."""
        command = self.command(arguments[0], "--json", *arguments[1:], rsh=rsh)
        return Transfer(command, self.local)


class Transfer:
    """``udpft … --json`` at work; killed at the end if still there.

    Args:
        command: the command line.
        folder: its working directory.

    Attributes:
        process: of udpft, which has replaced ``ip netns exec``.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment(),
            # A shell's background job, as the tests may be, hands on that it is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout
        assert self.process.stderr
        self._out: IO[bytes] = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def event(self, name: str) -> dict[str, Any]:
        """The next event of a name."""
        for line in self._out:
            fields: dict[str, Any] = json.loads(line)
            if fields["event"] == name:
                return fields
        raise AssertionError(f"no {name}: {self.process.stderr and self.process.stderr.read()!r}")

    def await_bytes(self, count: int) -> None:
        """Wait until so many bytes have moved."""
        while self.event("progress")["bytes"] < count:
            pass

    def shell(self) -> int:
        """The process of its remote shell."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        [child] = Path(path).read_text().split()
        return int(child)

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end: the exit code, and the summary."""
        out, _ = self.process.communicate(timeout=PATIENCE_S * 2)
        return self.process.returncode, json.loads(out.splitlines()[-1])


def reason_to_skip() -> str:
    """Why there can be no such hosts here; empty where there can."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "two hosts take root and iproute2"
    if not SSHD or not all(map(shutil.which, ("ssh", "ssh-keygen"))):
        return "there is no sshd and ssh"
    return ""


@contextmanager
def ssh_hosts(folder: Path) -> Iterator[Hosts]:
    """Two hosts on one cable; the test is skipped where they cannot be made."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    for name in ("home", "local", "bin"):
        (folder / name).mkdir()
    script(folder / "bin" / "udpft", f'#!/bin/sh\nexec {sys.executable} -m udpft "$@"\n')
    for name in ("host_key", "key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    with ExitStack() as stack:
        try:
            here, there = stack.enter_context(veth_pair(1500))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no namespaces here: {error}")
        hosts = Hosts(here, there, folder / "home", folder / "local", folder)
        known = {"folder": folder, "port": PORT, "address": there.address, "root": _ROOT}
        known |= {"home": hosts.home, "bin": folder / "bin"}
        (folder / "sshd_config").write_text(_SSHD_CONFIG.format(**known))
        (folder / "ssh_config").write_text(_SSH_CONFIG.format(**known))
        stack.enter_context(_sshd(hosts))
        yield hosts


@contextmanager
def _sshd(hosts: Hosts) -> Iterator[None]:
    Path("/run/sshd").mkdir(exist_ok=True)
    words = [str(SSHD), "-D", "-f", str(hosts.folder / "sshd_config"), "-E", str(hosts.log)]
    process = subprocess.Popen(hosts.there.command(words))
    try:
        while b"Server listening" not in (hosts.log.read_bytes() if hosts.log.exists() else b""):
            assert process.poll() is None, hosts.log.read_text()
            os.sched_yield()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def ended_within(pids: list[int], seconds: float) -> bool:
    """Whether all of some processes, which are not our children, end in time."""
    until = clock() + seconds
    descriptors = []
    for pid in pids:
        try:
            descriptors.append(os.pidfd_open(pid))
        except ProcessLookupError:
            continue
    try:
        for descriptor in descriptors:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            if not waiting.poll(max(0.0, until - clock()) * 1_000):
                return False
        return True
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
