"""Metrics of a server, for Prometheus to fetch over HTTP.

The HTTP server runs in a thread of its own, and does nothing until somebody asks. Each connection
has a thread for a few seconds; where there are too many of them, the oldest goes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from udpft.errors import UsageError
from udpft.net.address import Address
from udpft.outcome.served import Served

try:
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        ProcessCollector,
        make_wsgi_app,
    )
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError:
    raise UsageError(
        "metrics need the package prometheus-client, which is not installed",
        hint="pip install 'prometheus-client>=0.19'",
    ) from None

_SECONDS = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0)
"""Upper bounds of the histogram's buckets: from a small file over a LAN to a large one over a phone
line."""


_OF_THE_FIRST = ("process_start_time_seconds", "process_max_fds")

MAX_CONNECTIONS = 16
"""Connections to the page at once: a scraper needs one, and others must not use up descriptors."""

CONNECTION_TIMEOUT_S = 5.0
"""Seconds in which a client has to send its request, and to take each part of the answer."""


class _Handler(WSGIRequestHandler):
    """Handler of one connection, for a few seconds, and without a line for each request."""

    timeout = CONNECTION_TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


class _PageServer(ThreadingMixIn, WSGIServer):
    """HTTP server with a thread for each connection, of which there are `MAX_CONNECTIONS` at most.

    Attributes:
        _lock: held while ``_open`` is used.
        _open: connections, the oldest first; the oldest is cut off where another one comes.
    """

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; cut off the oldest connection where there are too many."""
        with self._lock:
            while len(self._open) >= MAX_CONNECTIONS:
                with suppress(OSError):
                    self._open.pop(next(iter(self._open))).shutdown(socket.SHUT_RDWR)
            self._open[id(request)] = request
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread is left
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a connection that broke off is no concern of the log."""


class _PageServer6(_PageServer):
    address_family = socket.AF_INET6


class _ProcessSums(Collector):
    """Collector of what several processes use together; their start and limit are the first's.

    Args:
        processes: returns their ids, the oldest first.
    """

    def __init__(self, processes: Callable[[], list[int]]) -> None:
        self._processes = processes

    def collect(self) -> Iterable[Metric]:
        """Collect the sums."""
        sums: dict[str, Metric] = {}
        for process_id in self._processes():
            for metric in ProcessCollector(pid=partial(int, process_id), registry=None).collect():
                known = sums.setdefault(metric.name, metric)
                if known is not metric and metric.name not in _OF_THE_FIRST:
                    pairs = zip(known.samples, metric.samples, strict=True)
                    known.samples = [
                        one._replace(value=one.value + other.value) for one, other in pairs
                    ]
        return sums.values()


class Metrics:
    """Metrics of one server, and their HTTP page. Close it, or leave its ``with`` block.

    Args:
        address: of the page; port 0 takes any free one.
        transfers: returns the number of transfers at work.
        drops: returns the number of datagrams that the server's receive buffer has dropped.
        processes: returns the server's processes; this one alone unless given.

    Attributes:
        address: of the page, with the port that was taken; never changes.
        _transfers: finished transfers, by mode, direction and outcome. Grows with each, as all
            counters of this class do.
        _file_bytes: bytes of files that crossed the network, by mode and direction.
        _resent: packets sent again, by mode and direction.
        _client_drops: datagrams dropped by receive buffers of clients that fetched.
        _seconds: histogram of the seconds from request to end, by mode and direction.
        _server: the HTTP server; answers until `close`.
        _thread: the thread in which it runs.

    Raises:
        UsageError: the address cannot be bound; the package is missing (when this is imported).
    """

    def __init__(
        self,
        address: Address,
        *,
        transfers: Callable[[], int],
        drops: Callable[[], int],
        processes: Callable[[], list[int]] | None = None,
    ) -> None:
        registry = CollectorRegistry()
        if processes:
            registry.register(_ProcessSums(processes))
        else:
            ProcessCollector(registry=registry)
        kind = ["mode", "direction"]
        self._transfers = Counter(
            "udpft_transfers", "Transfers that are over", [*kind, "outcome"], registry=registry
        )
        self._file_bytes = Counter(
            "udpft_file_bytes", "Bytes of files that crossed the network", kind, registry=registry
        )
        self._resent = Counter(
            "udpft_resent_packets", "Packets that had to be sent again", kind, registry=registry
        )
        self._client_drops = Counter(
            "udpft_client_dropped_datagrams",
            "Datagrams that clients' full receive buffers have dropped",
            registry=registry,
        )
        self._seconds = Histogram(
            "udpft_transfer_seconds",
            "Seconds from request to end",
            kind,
            buckets=_SECONDS,
            registry=registry,
        )
        at_work = Gauge("udpft_sessions", "Transfers at work", registry=registry)
        at_work.set_function(transfers)
        dropped = Gauge(
            "udpft_server_dropped_datagrams",
            "Datagrams that the server's full receive buffer has dropped",
            registry=registry,
        )
        dropped.set_function(drops)
        try:
            family = socket.getaddrinfo(address.host, address.port)[0][0]
            self._server: WSGIServer = make_server(
                address.host,
                address.port,
                make_wsgi_app(registry),
                _PageServer6 if family == socket.AF_INET6 else _PageServer,
                handler_class=_Handler,
            )
        except (OSError, socket.gaierror) as error:
            raise UsageError(
                f"cannot bind {address} for metrics: {error.strerror or error}",
                hint="--metrics takes HOST:PORT, an address of this machine and a free TCP port",
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="udpft-metrics", daemon=True
        )
        self._thread.start()
        host, port = self._server.server_address[:2]
        self.address = Address(str(host), int(port))

    def count(self, served: Served) -> None:
        """Count a finished transfer."""
        upload = served.bytes_received is not None
        kind = {"mode": served.mode, "direction": "upload" if upload else "download"}
        self._transfers.labels(outcome=_outcome(served), **kind).inc()
        self._file_bytes.labels(**kind).inc(served.new_bytes)
        self._resent.labels(**kind).inc(served.resent_packets)
        self._seconds.labels(**kind).observe(served.seconds)
        if not upload:
            self._client_drops.inc(served.dropped_packets)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _outcome(served: Served) -> str:
    """Name an outcome: ``done``, ``unconfirmed`` (the client left in silence), or the exit code."""
    if served.error:
        return served.error.exit_code.name.lower()
    return "done" if served.verified or served.mode == "plain" else "unconfirmed"
