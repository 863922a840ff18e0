"""QUIC in pure Python: aioquic, with a file fetch of a few lines on top.

Run as a program, it is both ends: ``python -m bench.peers.quic serve ROOT HOST PORT`` and
``… fetch HOST PORT NAME FILE``. A stream carries a name and a newline one way, the file the other.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers.base import Peer, Place

if TYPE_CHECKING:
    from aioquic.quic.configuration import QuicConfiguration

_PROTOCOL = "bench-file"
_BLOCK_BYTES = 1 << 18
_MEBIBYTE = 1 << 20


class Quic(Peer):
    """aioquic at both ends."""

    label = "aioquic"
    what = "QUIC (RFC 9000) in Python, encrypted, windows of 16 MiB"
    programs = ("python:aioquic",)
    usual_rate = 8e6
    usual_start_s = 0.35
    fears_loss = True

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        return ["python", "-m", __name__, "serve", str(place.root), place.server, str(place.port)]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        where = [place.server, str(place.port), name, str(destination)]
        return ["python", "-m", __name__, "fetch", *where]


def _configuration(*, is_client: bool) -> QuicConfiguration:
    from aioquic.quic.configuration import QuicConfiguration

    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[_PROTOCOL],
        max_data=16 * _MEBIBYTE,
        max_stream_data=16 * _MEBIBYTE,
        verify_mode=ssl.CERT_NONE if is_client else None,
    )


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate that it signs itself: for a benchmark's encryption, no identity."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


async def _serve(root: str, host: str, port: str) -> None:
    from aioquic.asyncio.server import serve

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = Path(root, os.path.basename((await reader.readline()).decode().strip()))
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                writer.write(block)
                await asyncio.sleep(0)
        writer.write_eof()

    configuration = _configuration(is_client=False)
    with tempfile.TemporaryDirectory() as folder:
        configuration.load_cert_chain(*_certificate(Path(folder)))
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await serve(host, int(port), configuration=configuration, stream_handler=begin)
    await asyncio.Event().wait()


async def _fetch(host: str, port: str, name: str, destination: str) -> None:
    from aioquic.asyncio.client import connect

    async with connect(host, int(port), configuration=_configuration(is_client=True)) as peer:
        reader, writer = await peer.create_stream()
        writer.write(name.encode() + b"\n")
        writer.write_eof()
        with open(destination, "wb") as file:
            while block := await reader.read(_BLOCK_BYTES):
                file.write(block)


PEERS = [Quic()]

if __name__ == "__main__":
    action: Any = {"serve": _serve, "fetch": _fetch}[sys.argv[1]]
    asyncio.run(action(*sys.argv[2:]))
