"""Command lines of remote shells: what is run here, so that udpft is run there."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from udpft.errors import UsageError
from udpft.remote.names import RemoteName

FAR_END = ("serve", "--for-shell")
"""Words behind udpft's own name there. What is asked for, and the key, come on standard input."""

_WITHOUT_HOST = ("sudo", "doas", "runuser")
"""Programs that become somebody else on this machine, and take no host."""

_WITH_DASHES = ("kubectl", "oc")
"""Programs that want ``--`` between the host and the command."""

_JOINING = ("ssh",)
"""Programs that join the command's words, for a shell over there to split again."""

_OF_CONTAINERS = ("docker", "podman", "nerdctl", *_WITH_DASHES)
"""Programs whose hosts are no names that a resolver knows."""

_WRAPPERS = (*_WITHOUT_HOST, "env", "nice", "timeout", "sshpass", "setsid")
"""Programs that may run one of the others."""


class ShellOptions(NamedTuple):
    """Choice of a remote shell, and of the far end.

    ``rsh``: the shell's command, as words for a shell. ``remote_udpft``: udpft's there, likewise.
    ``ports``: first and last UDP port that the far end may use; None for any.
    """

    rsh: str = "ssh"
    remote_udpft: str = "udpft"
    ports: tuple[int, int] | None = None


def shell_words(name: RemoteName, options: ShellOptions) -> list[str]:
    """Words of the remote shell's own command, before the host.

    Raises:
        UsageError: they cannot be split, or there are none.
    """
    if name.scheme == "docker":
        return ["docker", "exec", "-i"]
    if name.scheme == "kubectl":
        return ["kubectl", "exec", "-i", *(["-n", name.namespace] if name.namespace else [])]
    words = _split(options.rsh, "--rsh")
    return [*words, "-p", str(name.port)] if name.port else words


def command_line(name: RemoteName, options: ShellOptions) -> list[str]:
    """Command that runs the far end of a name's place. Raises UsageError."""
    shell = shell_words(name, options)
    program = _program(shell)
    remote = _split(options.remote_udpft, "--remote-udpft")
    if program in _JOINING:
        # Words stay as they are, so that ~ and $HOME are the far shell's to expand.
        remote = [shlex.quote(word) if set(word) & set(" \t\n'\"\\") else word for word in remote]
    host = [] if program in _WITHOUT_HOST else [name.host]
    dashes = ["--"] if program in _WITH_DASHES else []
    return [*shell, *host, *dashes, *remote, *FAR_END]


def host_on_network(name: RemoteName, options: ShellOptions) -> str:
    """Host of a name as the network may know it, without its user; empty where it knows none."""
    if _program(shell_words(name, options)) in (*_OF_CONTAINERS, *_WITHOUT_HOST):
        return ""
    return name.host.rpartition("@")[2]


def _program(shell: list[str]) -> str:
    """Program that takes the host: the first word, or a known one behind a wrapper."""
    programs = [os.path.basename(word) for word in shell]
    if programs[0] in _WRAPPERS:
        for program in programs[1:]:
            if program in (*_OF_CONTAINERS, *_JOINING):
                return program
    return programs[0]


def _split(text: str, option: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: {error}".lower()) from None
    if not words:
        raise UsageError(f"{option} is a command, and empty")
    return words
