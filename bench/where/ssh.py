"""This host and another one, over the network that is between them: with an agent there, by ssh.

The other host needs Python 3.11 or newer as ``python3``, with what udpft depends on, and the other
peers that are to be measured. This code goes there through the remote shell, into a folder in
memory that is gone in the end.
"""

from __future__ import annotations

import base64
import contextlib
import io
import shlex
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from bench.result import Scenario
from bench.where.hosts import Host, HostFailed, Joined, Unavailable
from bench.where.loopback import memory_folder

REPOSITORY = Path(__file__).parents[2]

_BEGIN = """
import base64, io, os, shutil, sys, tarfile
folder = {folder!r}
os.makedirs(folder, exist_ok=True)
try:
    packed = io.BytesIO(base64.b64decode(sys.stdin.readline()))
    tarfile.open(fileobj=packed).extractall(os.path.join(folder, "code"))
    os.chdir(os.path.join(folder, "code"))
    sys.path.insert(0, os.getcwd())
    from bench.agent import main
    main()
finally:
    shutil.rmtree(folder, ignore_errors=True)
"""


class Ssh:
    """An agent here and one on the other host."""

    name = "ssh"

    def __init__(self, client: Host, server: Host) -> None:
        self._client, self._server = client, server
        told = server.run("sh", "-c", "echo $SSH_CONNECTION").split()
        if len(told) != 4:
            raise Unavailable("the other host does not say at which address ssh has reached it")
        self._addresses = told[0], told[2]

    @contextlib.contextmanager
    def join(self, scenario: Scenario) -> Iterator[Joined]:
        """The ends, if nothing is asked of the path that it has not got."""
        if scenario.is_impaired:
            raise Unavailable("a real path is given neither loss nor delay nor a rate")
        mtu = self._mtu()
        if scenario.mtu != mtu:
            raise Unavailable(f"the device on the way there has an MTU of {mtu}")
        yield Joined(self._client, self._server, *self._addresses)

    def _mtu(self) -> int:
        """MTU of the device on the way to the other host."""
        words = self._client.run("ip", "route", "get", self._addresses[1]).split()
        device = words[words.index("dev") + 1]
        return int(self._client.run("cat", f"/sys/class/net/{device}/mtu"))

    def describe(self) -> dict[str, str]:
        """The other host, as this one is described, each name behind a word."""
        facts = self._server.call("describe")
        return {f"server: {name}": fact for name, fact in facts.items()}


@contextlib.contextmanager
def ssh(server: str, rsh: str = "ssh") -> Iterator[Ssh]:
    """A place to measure in.

    Args:
        server: ``[USER@]HOST``, as the remote shell has it.
        rsh: the remote shell, as words for a shell.

    Raises:
        Unavailable: the other host cannot be reached, or has no Python that will do.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(memory_folder(ignore_errors=True)))
        begin = shlex.quote(_BEGIN.format(folder=str(folder)))
        remote = [*shlex.split(rsh), server, "python3", "-c", begin]
        try:
            there = stack.enter_context(Host(remote, folder, packed()))
            here = stack.enter_context(Host([sys.executable, "-m", "bench.agent"], folder))
            yield Ssh(here, there)
        except HostFailed as error:
            raise Unavailable(f"no agent on {server}: {error}; its words are above") from error


def packed() -> str:
    """This code as a line of text, for the other host."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "__pycache__" in member.name or "reports" in member.name else member

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name in ("bench", "udpft"):
            archive.add(REPOSITORY / name, name, filter=wanted)
    return base64.b64encode(data.getvalue()).decode() + "\n"
