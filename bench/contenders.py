"""Who can be compared: each contender says how to serve a directory and how to fetch a file.

They only describe commands; the runner starts them, on whichever hosts it likes.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_NGINX_CONF = """\
daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 256; }}
http {{
  sendfile on; tcp_nopush on; access_log off; default_type application/octet-stream;
  client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work};
  uwsgi_temp_path {work}; scgi_temp_path {work};
  server {{ listen {address}:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True)
class Place:
    """Where a contender serves: the directory, the address and port, and room for its own files."""

    root: Path
    work: Path
    address: str
    port: int


class Contender(Protocol):
    """A way to fetch a whole file.

    ``tcp_controller`` is the congestion controller to fetch under; empty for the kernel's own.
    """

    @property
    def tcp_controller(self) -> str: ...

    def serve(self, place: Place) -> list[str]:
        """The server's command; empty if there is none."""

    def fetch(self, place: Place, name: str, destination: Path) -> list[str]:
        """The client's command, which exits with 0 when ``destination`` is complete."""


@dataclass(frozen=True)
class Udpft:
    """``udpft get`` with options of the user's choice, from ``udpft serve``."""

    options: str = ""
    tcp_controller: str = ""

    def serve(self, place: Place) -> list[str]:
        host = ["--host", place.address, "--port", str(place.port)]
        return [sys.executable, "-m", "udpft", "-q", "serve", str(place.root), *host]

    def fetch(self, place: Place, name: str, destination: Path) -> list[str]:
        target = ["-s", f"{place.address}:{place.port}", "-o", str(destination)]
        options = shlex.split(self.options)
        return [sys.executable, "-m", "udpft", "-q", "get", name, *target, *options]


@dataclass(frozen=True)
class Nginx:
    """curl from nginx with sendfile: what a careful administrator would use."""

    tcp_controller: str = ""

    def serve(self, place: Place) -> list[str]:
        conf = place.work / "nginx.conf"
        conf.write_text(
            _NGINX_CONF.format(
                work=place.work, root=place.root, address=place.address, port=place.port
            )
        )
        return ["nginx", "-c", str(conf), "-e", str(place.work / "nginx.log")]

    def fetch(self, place: Place, name: str, destination: Path) -> list[str]:
        return _curl(place, name, destination)


@dataclass(frozen=True)
class PythonHttpServer:
    """curl from ``python3 -m http.server``: what a hurried one would use."""

    tcp_controller: str = ""

    def serve(self, place: Place) -> list[str]:
        bind = ["--bind", place.address, "--directory", str(place.root), str(place.port)]
        return [sys.executable, "-m", "http.server", *bind]

    def fetch(self, place: Place, name: str, destination: Path) -> list[str]:
        return _curl(place, name, destination)


@dataclass(frozen=True)
class Copy:
    """``cp``: no network at all, the ceiling of what writing the file allows."""

    tcp_controller: str = ""

    def serve(self, place: Place) -> list[str]:  # noqa: ARG002
        return []

    def fetch(self, place: Place, name: str, destination: Path) -> list[str]:
        return ["cp", str(place.root / name), str(destination)]


def _curl(place: Place, name: str, destination: Path) -> list[str]:
    url = f"http://{place.address}:{place.port}/{name}"
    return ["curl", "--silent", "--show-error", "--fail", "--output", str(destination), url]


KINDS: dict[str, Callable[[str], Contender]] = {
    "udpft": lambda options: Udpft(options=options),
    "nginx": lambda controller: Nginx(tcp_controller=controller),
    "http.server": lambda controller: PythonHttpServer(tcp_controller=controller),
    "cp": lambda _: Copy(),
}
"""What may be written before the colon of a contender's label."""


def parse_contender(label: str) -> Contender:
    """Read ``nginx``, ``nginx:cubic`` or ``udpft:--chunk-size auto``.

    Behind the colon stands the congestion controller of a TCP server or the options of a
    ``udpft get``.

    Raises:
        ValueError: no such kind of contender.
    """
    kind, _, detail = label.partition(":")
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no contender: choose from {', '.join(KINDS)}")
    return KINDS[kind](detail)
