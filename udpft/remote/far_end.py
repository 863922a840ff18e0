"""Far end of a session: a server that a remote shell has started, and that ends with it.

The request is the first line of standard input, and the only place where the key ever is. The
answer is the one line of standard output. Then the server runs until standard input ends, which it
does when the client has what it wanted, was killed, or the shell was; or until the client has been
silent on both ways, as it is when a cable was cut: no line has come through the shell, and no
transfer is at work, which each ends by itself when its client is silent for as long.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from random import SystemRandom
from threading import Thread
from types import FrameType
from typing import NamedTuple

from udpft.errors import ExitCode, UdpftError, UsageError
from udpft.keys import need_cryptography
from udpft.net.clock import clock
from udpft.remote.asked import AskedPlace, AskedServer, OfferedFolders, offer_of, place_of
from udpft.remote.messages import (
    MAX_LINE_BYTES,
    Answer,
    Found,
    PathsAsked,
    Request,
    decode_request_untrusted,
    encode_answer,
    encode_error,
)
from udpft.storage.served_folder import ServedRoot

SILENCE_S = 10.0
"""Seconds without a word from the client, on either way, after which a far end is over."""

_LOOK_EVERY_S = 1.0
_INPUT, _OUTPUT = 0, 1
_SIOCGIFADDR = 0x8915
_MAX_FOLDERS = 1_000


def run() -> int:
    """Serve one session over standard input and output; return the exit code."""
    try:
        request = decode_request_untrusted(_read_line(_INPUT))
        need_cryptography()
        asked = _asked(request)
        server = _listening(request, asked)
    except UdpftError as error:
        _say(encode_error(error))
        return error.exit_code
    with server:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, partial(_stop, server))
        answer = Answer(server.port, tuple(addresses(os.environ)), asked.found)
        watching = Thread(target=watch, args=(server, _INPUT), name="udpft-input", daemon=True)
        watching.start()
        if _say(encode_answer(answer)):
            server.run()
    return ExitCode.DONE


def _stop(server: AskedServer, _signum: int, _frame: FrameType | None) -> None:
    server.stop(0.0)


def _say(line: bytes) -> bool:
    """Write a line to the client; return whether it took it."""
    try:
        while line:
            line = line[os.write(_OUTPUT, line) :]
    except OSError:
        return False
    return True


def _read_line(descriptor: int) -> bytes:
    """Read the first line, and nothing of what follows it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        more = os.read(descriptor, 65_536)
        line += more
        if not more or len(line) > MAX_LINE_BYTES:
            break
    return bytes(line)


class _Asked(NamedTuple):
    """What is asked for: how it is opened, its names, and what there is of it."""

    open_root: Callable[[], ServedRoot]
    names: Collection[str]
    found: tuple[Found, ...]


def _asked(request: Request) -> _Asked:
    """Find what a request asks for. Raises UsageError: it makes no sense."""
    if isinstance(request.asked, PathsAsked):
        offers = [offer_of(path) for path in request.asked.paths]
        folders = list(dict.fromkeys(one.folder for one in offers if one.folder))
        if len(folders) > _MAX_FOLDERS:
            raise UsageError("that is in too many folders at once", hint="fetch some, then others")
        found = tuple(one.found for one in offers)
        names = [one.name for one in found if one.name]
        return _Asked(partial(OfferedFolders, folders or ["/"]), names, found)
    place = place_of(request.asked)
    return _Asked(partial(AskedPlace, place), place.names, place.found)


def _listening(request: Request, asked: _Asked) -> AskedServer:
    """Open the server on a port that is allowed. Raises UsageError: none of them is free."""
    ports = [0]
    if request.ports:
        ports = list(range(request.ports[0], request.ports[1] + 1))
        SystemRandom().shuffle(ports)
    for port in ports:
        for host in ("::", "0.0.0.0"):  # one without IPv6 has the latter
            with suppress(UsageError):
                return AskedServer(
                    asked.open_root(),
                    asked.names,
                    request.asked,
                    host=host,
                    port=port,
                    plain="never",
                    key_file=request.key,
                    timeout=min(request.timeout_s, SILENCE_S),
                )
    raise UsageError(
        "no UDP port is free there" + (f" from {ports[0]} to {ports[-1]}" if request.ports else ""),
        hint="--ports FIRST-LAST allows others",
    )


def watch(server: AskedServer, descriptor: int) -> None:
    """Stop a server when its input ends, or when its client is silent on both ways."""
    heard_at = clock()
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    while True:
        if waiting.poll(_LOOK_EVERY_S * 1_000):
            try:
                if not os.read(descriptor, 65_536):
                    break
            except OSError:
                break
            heard_at = clock()
        elif clock() > heard_at + SILENCE_S and not server.transfers:
            break
    server.stop(0.0)


# ------------------------------------------------------------------------------------- addresses


def addresses(environ: Mapping[str, str]) -> list[str]:
    """Addresses of this host: first the one that ssh was reached at, then those of its devices."""
    connection = environ.get("SSH_CONNECTION", "").split()
    found = [connection[2].partition("%")[0]] if len(connection) == 4 else []
    found += [*_ipv4_addresses(), *_ipv6_addresses()]
    return [
        one
        for one in dict.fromkeys(found)
        if one != "::1" and not one.startswith(("127.", "fe80:"))
    ]


def _ipv4_addresses() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            question = struct.pack("256s", name.encode()[:15])
            with suppress(OSError):
                reply = fcntl.ioctl(sock, _SIOCGIFADDR, question)
                found.append(socket.inet_ntoa(reply[20:24]))
    return found


def _ipv6_addresses() -> list[str]:
    try:
        with open("/proc/net/if_inet6") as file:
            numbers = [bytes.fromhex(line.split()[0]) for line in file]
    except (OSError, ValueError, LookupError):
        return []
    return [socket.inet_ntop(socket.AF_INET6, one) for one in numbers]
