"""TCP as a careful administrator has it: nginx with sendfile, and curl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Peer, Place

_CONF = """\
daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 256; }}
http {{
  sendfile on; tcp_nopush on; access_log off; default_type application/octet-stream;
  client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work};
  uwsgi_temp_path {work}; scgi_temp_path {work};
  server {{ listen {server}:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True, repr=False)
class Http(Peer):
    """curl from nginx."""

    label: str = "nginx + curl"
    what: str = "HTTP over TCP; nginx with sendfile, one process, as Debian builds it"
    tcp_controller: str = ""
    fears_loss: bool = False
    usual_rate = 8e8
    kind = "tcp"
    programs = ("nginx", "curl")
    transport = "tcp"

    def files(self, place: Place) -> dict[str, str]:
        conf = _CONF.format(work=place.work, root=place.root, server=place.server, port=place.port)
        return {"nginx.conf": conf}

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        conf, log = place.work / "nginx.conf", place.work / "nginx.log"
        return ["nginx", "-p", str(place.work), "-c", str(conf), "-e", str(log)]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        url = f"http://{place.server}:{place.port}/{name}"
        return ["curl", "--silent", "--show-error", "--fail", "--output", str(destination), url]


PEERS = [
    Http(),
    Http("nginx + curl, cubic", "the same, TCP with cubic, as most kernels have it", "cubic", True),
]
