"""Remote names: ``[USER@]HOST:PATH`` as scp has them, and URLs for ssh, docker and kubectl."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote

from udpft.errors import UsageError
from udpft.net.address import MAX_PORT

Scheme = Literal["", "ssh", "docker", "kubectl"]
"""Scheme of a URL; empty of ``HOST:PATH``."""

_SCHEMES: tuple[Scheme, ...] = ("ssh", "docker", "kubectl")

_BRACKETED = re.compile(r"((?:[^/@\[\]]*@)?)\[([^\]/]*)\]:")
"""``[IPV6]:``, perhaps with a user before it."""

_TOP_FOLDERS = tuple(
    "app bin boot data dev etc home lib lib32 lib64 media mnt opt proc root run sbin srv sys tmp "  # noqa: SIM905
    "usr var work workspace".split()
)
"""Folders that a path in a container begins with: no names of pods."""


class RemoteName(NamedTuple):
    """Name of a file or folder behind a remote shell.

    ``typed``: the words of the user. ``host``: the shell's word for it, with the user before it
    where there is one; a container; a pod. ``path``: absolute, from ``~/``, or relative to the
    account's home; empty for the home. ``port``: of ssh, 0 for its own. ``namespace``: of a pod,
    empty for kubectl's own.
    """

    typed: str
    scheme: Scheme
    host: str
    path: str
    port: int = 0
    namespace: str = ""

    @property
    def place(self) -> tuple[str, str, int, str]:
        """All but the path: names of one place share a shell."""
        return self.scheme, self.host, self.port, self.namespace

    @property
    def base(self) -> str:
        """Last component of the path, that a fetched file is named after; empty where it has none.

        A path that ends with a slash, a dot or a tilde stands for what is in the folder.
        """
        last = self.path.rpartition("/")[2]
        return "" if last in (".", "..", "~") else last


def parse_remote(name: str) -> RemoteName:
    """Read a remote name.

    Raises:
        UsageError: it has no host, or one that the shell would take for an option.
    """
    scheme = next((one for one in _SCHEMES if name.startswith(f"{one}://")), None)
    if scheme:
        parsed = _parse_url(name, scheme)
    elif bracketed := _BRACKETED.match(name):
        parsed = RemoteName(name, "", bracketed[1] + bracketed[2], name[bracketed.end() :])
    else:
        host, _, path = name.partition(":")
        parsed = RemoteName(name, "", host, path)
    for word in (parsed.host, parsed.host.rpartition("@")[2], parsed.namespace or "default"):
        if not word or word.startswith("-") or not word.isprintable() or " " in word:
            raise UsageError(
                f"{name!r} names no host",
                hint="write HOST:PATH or ssh://HOST/PATH; ./a:b is a file here",
            )
    if "\0" in parsed.path:
        raise UsageError(f"{name!r} names no file")
    return parsed


def _parse_url(name: str, scheme: Scheme) -> RemoteName:
    host, slash, path = name.removeprefix(f"{scheme}://").partition("/")
    port, namespace = 0, ""
    if scheme == "ssh":
        host, port = _host_and_port(host, name)
    elif scheme == "kubectl":
        second, more, rest = path.partition("/")
        if more and second and second not in _TOP_FOLDERS:
            namespace, host, path = host, second, rest
    path = unquote(path, errors="surrogateescape")
    # Behind the host's slash a path is absolute, but for ``/~/``: as curl and git have it.
    if not path.startswith("~"):
        path = slash + path.lstrip("/") if slash else ""
    return RemoteName(name, scheme, host, path, port, namespace)


def _host_and_port(text: str, name: str) -> tuple[str, int]:
    """Take a URL's host and its port apart; 0 for none. Raises UsageError."""
    bracketed = re.fullmatch(r"((?:[^@\[\]]*@)?)\[([^\]]*)\](?::(.*))?", text)
    if bracketed:
        host, digits = bracketed[1] + bracketed[2], bracketed[3]
    else:
        host, colon, after = text.partition(":")
        digits = after if colon else None
    if digits is None:
        return host, 0
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits[:6]) <= MAX_PORT):
        raise UsageError(f"{name!r}: a port is a number from 1 to {MAX_PORT}")
    return host, int(digits)


def parse_ports(text: str) -> tuple[int, int]:
    """Read a range of ports, ``FIRST-LAST``, or one port. Raises UsageError."""
    first, dash, last = text.partition("-")
    numbers = [
        int(one) if one.isascii() and one.isdigit() and len(one) < 6 else 0
        for one in (first, last if dash else first)
    ]
    if not 1 <= numbers[0] <= numbers[1] <= MAX_PORT:
        raise UsageError(
            f"{text!r} is no range of ports", hint="write FIRST-LAST, such as 60000-60010"
        )
    return numbers[0], numbers[1]
