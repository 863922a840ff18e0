"""A link between two namespaces, shaped in user space: for kernels without netem.

Each namespace has a TUN device; one process reads the packets that leave one and writes them into
the other when a ``OneWayLink`` says they are due. A packet is one read and one write, about 10 µs
of one core together, so that 500 Mbit/s at MTU 1500 is in reach of plain Python.

The ends are as far as a good network card would take them: the kernel segments before the TUN
device, so loss and queue see single packets; arriving packets can be coalesced by GRO.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import math
import multiprocessing
import os
import select
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from bench.links.namespaces import DEVICE, Namespace, adopt, namespace_pair
from bench.links.shape import LinkCounters, LinkShape, OneWayLink

# ioctl and flags of <linux/if_tun.h>
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NAPI, _IFF_NO_PI = 0x0001, 0x0010, 0x1000

# struct ifreq as TUNSETIFF reads it: name 16 bytes, flags u16, padding to 40 bytes
_IFREQ = struct.Struct("=16sH22x")

_RING_PACKETS = 10_000
"""Room between the kernel and the emulator: 0.24 s of 500 Mbit/s, if the emulator has to wait."""

_READS_PER_TURN = 64
"""Packets read from one side before the other has its turn, and before due packets leave."""

_TURN_S = 0.0002
"""Pause between turns: packets are moved several at a time, as a network card's interrupt
moderation does, at half the cost of one by one. Arrivals are seen, and deliveries made, up to this
much late; an idle link notices its first packet at once."""

COALESCE_S = 0.0002
"""How long the receiving ends gather packets, as a card's driver does under interrupt moderation.
Delivered one by one, 41,000 packets a second cost their receiver more than any real card would."""

_PRIORITY = 1
"""Of SCHED_FIFO, sched(7): the network must not compete with its own ends for the processor."""

_REPLY_TIMEOUT_S = 10.0


class EmulatedLink:
    """Two namespaces and the link between them, seen from the process that made it."""

    def __init__(self, left: Namespace, right: Namespace, control: Connection) -> None:
        self.left = left
        self.right = right
        self._control = control

    def reshape(self, left_to_right: LinkShape, right_to_left: LinkShape) -> None:
        """Change both directions at once, while packets are under way."""
        self._ask((left_to_right, right_to_left))

    def counters(self) -> tuple[LinkCounters, LinkCounters]:
        """What the directions have done since the start: left to right, right to left."""
        forth, back = self._ask(None)
        return (
            replace(forth, overrun=_ring_overruns(self.left)),
            replace(back, overrun=_ring_overruns(self.right)),
        )

    def _ask(self, shapes: tuple[LinkShape, LinkShape] | None) -> tuple[LinkCounters, LinkCounters]:
        self._control.send(shapes)
        if not self._control.poll(_REPLY_TIMEOUT_S):
            raise TimeoutError("the link emulator does not answer")
        forth, back = self._control.recv()
        return forth, back


@contextlib.contextmanager
def emulated_link(
    left_to_right: LinkShape,
    right_to_left: LinkShape,
    *,
    mtu: int = 1500,
    coalesce_s: float = COALESCE_S,
    ends: tuple[Namespace, Namespace] | None = None,
) -> Iterator[EmulatedLink]:
    """Two namespaces joined by a link of these shapes, for as long as the context lasts.

    ``ends``: namespaces that are there already, such as containers'; by default two new ones.

    ``coalesce_s``: for how long the receiving ends may gather packets of one flow (GRO); 0 hands
    up each packet alone.
    """
    with contextlib.ExitStack() as stack:
        left, right = ends or stack.enter_context(namespace_pair())
        tuns = []
        for end in (left, right):
            tuns.append(_open_tun(end, mtu, coalesce_s))
            stack.callback(os.close, tuns[-1])
        control, far_control = multiprocessing.Pipe()
        links = OneWayLink(left_to_right), OneWayLink(right_to_left)
        process = multiprocessing.get_context("fork").Process(
            target=_forward_until_hung_up,
            args=(tuns[0], tuns[1], links, far_control, control),
            daemon=True,
        )
        process.start()
        far_control.close()
        stack.callback(process.join)
        stack.callback(control.close)
        yield EmulatedLink(left, right, control)


def _open_tun(namespace: Namespace, mtu: int, coalesce_s: float) -> int:
    """A TUN device inside the namespace, up; returns the file that carries its packets."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | (_IFF_NAPI if coalesce_s else 0)
        ifreq = fcntl.ioctl(tun, _TUNSETIFF, _IFREQ.pack(b"udpft%d", flags))
        device = _IFREQ.unpack(ifreq)[0].rstrip(b"\0").decode()
        adopt(namespace, device, mtu)
        namespace.run("ip", "link", "set", DEVICE, "txqueuelen", str(_RING_PACKETS))
        if coalesce_s:
            knobs = f"/sys/class/net/{DEVICE}"
            # An engine mounts its containers' /sys read-only; this mount is the command's own.
            writable = "mount -o remount,rw /sys"
            defer = f"echo 1 > {knobs}/napi_defer_hard_irqs"
            flush = f"echo {round(coalesce_s * 1e9)} > {knobs}/gro_flush_timeout"
            namespace.run("sh", "-c", f"{writable} && {defer} && {flush}")
    except BaseException:
        os.close(tun)
        raise
    return tun


def _ring_overruns(namespace: Namespace) -> int:
    """Packets that the kernel dropped because the emulator did not read them in time."""
    return int(namespace.run("cat", f"/sys/class/net/{DEVICE}/statistics/tx_dropped"))


def _forward_until_hung_up(
    left: int,
    right: int,
    links: tuple[OneWayLink, OneWayLink],
    control: Connection,
    parents_end: Connection,
) -> None:
    """The forwarding process: runs until the parent closes its end of the control pipe."""
    parents_end.close()
    for number in (signal.SIGINT, signal.SIGTERM):  # are for the parent, which hangs up
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1000")  # 50 µs otherwise
    gc.disable()  # nothing here makes cycles
    with contextlib.suppress(EOFError, BrokenPipeError):
        _forward(left, right, links, control)


def _forward(
    left: int, right: int, links: tuple[OneWayLink, OneWayLink], control: Connection
) -> None:
    routes = {left: (links[0], right), right: (links[1], left)}
    inputs = [left, right, control.fileno()]
    while True:
        time.sleep(_TURN_S)
        wait_s = min(links[0].next_due_s(), links[1].next_due_s()) - time.monotonic()
        timeout_s = None if wait_s == math.inf else max(0.0, wait_s)
        readable, _, _ = select.select(inputs, [], [], timeout_s)
        if control.fileno() in readable:
            readable.remove(control.fileno())
            _answer(control, links)
        for tun in readable:
            _read_packets(tun, routes[tun][0])
        for link, out in routes.values():
            for packet in link.take(time.monotonic()):
                os.write(out, packet)


def _read_packets(tun: int, link: OneWayLink) -> None:
    now_s = time.monotonic()
    with contextlib.suppress(BlockingIOError):
        for _ in range(_READS_PER_TURN):
            link.offer(os.read(tun, 65536), now_s)


def _answer(control: Connection, links: tuple[OneWayLink, OneWayLink]) -> None:
    """Take new shapes, if that is what came, and reply with the counters."""
    shapes = control.recv()
    if shapes is not None:
        for link, shape in zip(links, shapes, strict=True):
            link.reshape(shape)
    control.send(tuple(link.counters for link in links))
