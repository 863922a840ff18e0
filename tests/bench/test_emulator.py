"""The real link: namespaces, TUN devices and the forwarding process. Needs root and Linux."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.links import EmulatedLink, LinkCounters, LinkShape, emulated_link, veth_pair
from bench.links.namespaces import namespace_pair, run
from bench.links.shape import OneWayLink


@pytest.fixture(scope="module", autouse=True)
def _real_links_can_be_made() -> None:
    """Skip where they cannot: not root, no TUN, or a container whose root is not allowed to."""
    needs = {
        "root": os.geteuid() == 0,
        "/dev/net/tun": Path("/dev/net/tun").exists(),
        "iproute2": shutil.which("ip") is not None,
    }
    if missing := [need for need, there in needs.items() if not there]:
        pytest.skip(f"a real link needs {', '.join(missing)}")
    try:
        with namespace_pair():
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespaces here: {error}")


ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((ADDRESS, 9))
print("ready", flush=True)
while True:
    s.sendto(*s.recvfrom(65536))
"""

SEND = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((ADDRESS, 9))
s.settimeout(10)
payload = bytes(i % 251 for i in range(1000))
started_s = time.monotonic()
for i in range(N_PACKETS):
    s.send(i.to_bytes(4, "big") * 20 + payload)
answers = [s.recv(65536) for _ in range(N_ANSWERS)]
print(json.dumps({
    "seconds": time.monotonic() - started_s,
    "order": [int.from_bytes(a[:4], "big") for a in answers],
    "damaged": sum(a[80:] != payload for a in answers),
}))
"""


def echo_through(link: EmulatedLink, n_packets: int, n_answers: int) -> dict[str, object]:
    """Send datagrams from left to an echo on the right; return what came back, and when."""

    def script(text: str) -> list[str]:
        names = f"ADDRESS={link.right.address!r}; N_PACKETS={n_packets}; N_ANSWERS={n_answers}"
        return [sys.executable, "-c", names + text]

    server = link.right.command(script(ECHO))
    with subprocess.Popen(server, stdout=subprocess.PIPE) as echo:
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        try:
            answer: dict[str, object] = json.loads(link.left.run(*script(SEND)))
        finally:
            echo.terminate()
    return answer


def counters_once(
    link: EmulatedLink, done: Callable[[LinkCounters], bool]
) -> tuple[LinkCounters, LinkCounters]:
    """The counters as soon as those towards the right satisfy ``done``."""
    deadline_s = time.monotonic() + 10
    while not done((counters := link.counters())[0]):
        assert time.monotonic() < deadline_s, counters
    return counters


def test_datagrams_cross_both_ways_after_the_delay() -> None:
    shape = LinkShape(rate_bit_per_s=50e6, delay_s=0.02)
    with emulated_link(shape, shape) as link:
        answer = echo_through(link, n_packets=50, n_answers=50)
        forth, back = link.counters()
    assert answer["order"] == list(range(50))
    assert answer["damaged"] == 0
    seconds = answer["seconds"]
    assert isinstance(seconds, float)
    assert seconds >= 0.04
    for counters in (forth, back):
        assert counters.offered == counters.delivered == 50
        assert counters.delivered_bytes == 50 * (28 + 1080)


def test_exactly_the_packets_that_the_seed_dooms_are_lost() -> None:
    shape = LinkShape(loss=0.3, seed=4)
    expected = OneWayLink(shape)
    for i in range(100):
        expected.offer(bytes([i]), 0.0)
    survivors = [packet[0] for packet in expected.take(0.0)]
    with emulated_link(shape, LinkShape()) as link:
        answer = echo_through(link, n_packets=100, n_answers=len(survivors))
        forth, _ = link.counters()
    assert answer["order"] == survivors
    assert forth.lost == expected.counters.lost > 0
    assert forth.overrun == 0


def test_damaged_datagrams_get_past_the_kernel_s_checksum() -> None:
    with emulated_link(LinkShape(corrupt=0.5), LinkShape()) as link:
        answer = echo_through(link, n_packets=50, n_answers=50)
        forth, _ = link.counters()
    assert answer["damaged"] == forth.corrupted > 0


def test_a_link_can_be_cut_and_mended_while_it_runs() -> None:
    with emulated_link(LinkShape(), LinkShape()) as link:
        echo_through(link, n_packets=1, n_answers=1)
        link.reshape(LinkShape(loss=1.0), LinkShape())
        echo_through(link, n_packets=3, n_answers=0)
        counters_once(link, lambda forth: forth.lost == 3)
        link.reshape(LinkShape(), LinkShape())
        assert echo_through(link, n_packets=2, n_answers=2)["order"] == [0, 1]


@pytest.mark.parametrize("coalesce_s", [0.0, 0.001])
def test_ends_hand_up_the_same_datagrams_whether_they_coalesce_or_not(coalesce_s: float) -> None:
    with emulated_link(LinkShape(), LinkShape(), coalesce_s=coalesce_s) as link:
        assert echo_through(link, n_packets=50, n_answers=50)["order"] == list(range(50))


def test_a_veth_pair_has_the_mtu_and_the_offloads_asked_for() -> None:
    if not shutil.which("ethtool"):
        pytest.skip("no ethtool")
    with veth_pair(mtu=9000, offloads=False) as (left, right):
        for end in (left, right):
            assert "mtu 9000" in end.run("ip", "link", "show", "link0")
            features = end.run("ethtool", "-k", "link0")
            assert "tcp-segmentation-offload: off" in features
            assert "generic-receive-offload: off" in features


def test_namespaces_and_what_runs_in_them_end_with_the_context() -> None:
    with namespace_pair() as (left, right):
        sleeper = subprocess.Popen(left.command(["sleep", "1000"]))
        deadline_s = time.monotonic() + 10
        while sleeper.pid not in left.pids():
            assert time.monotonic() < deadline_s
    assert sleeper.wait(timeout=10) == -9
    names = run("ip", "netns", "list")
    assert left.name not in names
    assert right.name not in names


def test_what_a_crashed_run_left_is_swept_and_what_runs_is_kept() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    leftover = f"udpft-{dead.pid}-0-left"
    run("ip", "netns", "add", leftover)
    with namespace_pair() as (left, _):
        assert leftover not in run("ip", "netns", "list")
        with namespace_pair():
            assert left.name in run("ip", "netns", "list")
