"""TFTP with windows (RFC 7440): atftp."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Peer, Place

_WINDOW_BYTES = 1 << 16


class Tftp(Peer):
    """atftp from atftpd: blocks that fill a packet, windows that a receive buffer holds."""

    label = "tftp, windowed"
    what = "atftp: windows of 64 KiB (RFC 7440), blocks that fill a packet"
    programs = ("atftp", "atftpd")

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        words = ["--port", str(place.port), "--bind-address", place.server, "--no-multicast"]
        words += ["--user", "root.root", "--maxthread", "100", "--logfile", "-"]
        words += ["--retry-timeout", "1"]
        return ["atftpd", "--daemon", "--no-fork", *words, str(place.root)]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        block = min(8192, place.mtu - 32)
        options = ["--option", f"blksize {block}"]
        options += ["--option", f"windowsize {_WINDOW_BYTES // block}", "--tftp-timeout", "1"]
        what = ["-g", "-r", name, "-l", str(destination)]
        return ["atftp", *options, *what, place.server, str(place.port)]


PEERS = [Tftp()]
