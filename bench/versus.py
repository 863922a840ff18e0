"""Compare ways to fetch a file, interleaved: ``python -m bench.versus nginx udpft --path veth``.

Every round fetches the file once with each contender, in an order shuffled by the seed; one round
of warm-up is not counted. Ratios are taken within a round, to the first contender, so that a
machine that is slow for a while is slow for all. Files live on tmpfs, and every one that arrives
is compared with the source by SHA-256: a wrong one is a failure, never a number.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.contenders import KINDS, Place, parse_contender
from bench.links import LOOPBACK, shaped_link, veth_pair
from bench.links.arguments import link_arguments, link_shapes
from bench.links.namespaces import run
from bench.measure import Sample
from bench.serving import Hosts, Served, Source, served
from udpft.units import parse_bytes

JSON_SCHEMA = 1
"""Version of the ``--json`` file, in the file."""

_TMPFS = "/dev/shm"
_FIRST_PORT = 9100
_DOUBTFUL_SHARE = 0.05
_BLOCK_BYTES = 1 << 24
_SETTINGS = (
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.rmem_default",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_congestion_control",
)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; says what is wrong with it and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.versus",
        description="Compare ways to fetch a file, interleaved and verified.",
        epilog="Example: python -m bench.versus nginx nginx:cubic udpft 'udpft:--chunk-size auto' "
        "--path link --rate 100M --delay 50ms --loss 1% --size 100M",
        parents=[link_arguments()],
    )
    add = parser.add_argument
    add("contenders", nargs="+", help=f"{', '.join(KINDS)}, with :CONTROLLER or :OPTIONS behind")
    add("--path", choices=["loopback", "veth", "link"], default="loopback")
    add("--size", type=parse_bytes, default=10**8, help="of the file: 1Gi")
    add("--rounds", type=int, default=5, help="counted ones, after one of warm-up")
    add("--controller", default="", help="TCP's congestion controller: cubic")
    add("--timeout", type=float, default=300.0, help="seconds for one fetch")
    add("--json", type=Path, metavar="FILE", help="write every sample and the environment")
    args = parser.parse_args(words)
    try:
        link_shapes(args)
        contenders = [parse_contender(label) for label in args.contenders]
    except ValueError as error:
        parser.error(str(error))
    wants_controller = args.controller or any(c.tcp_controller for c in contenders)
    if args.path == "loopback" and wants_controller:
        parser.error("a congestion controller is set in namespaces: --path veth or link")
    return args


def main() -> int:
    """Run a comparison; return 1 if a fetch failed."""
    args = parse_arguments()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-versus", dir=_TMPFS)))
        hosts = stack.enter_context(joined_hosts(args))
        source = make_source(folder, args.size, args.seed)
        contenders = []
        for i, label in enumerate(args.contenders):
            work = folder / f"contender-{i}"
            work.mkdir()
            place = Place(source.path.parent, work, hosts.server.address, _FIRST_PORT + i)
            server = served(label, parse_contender(label), place, hosts)
            contenders.append(stack.enter_context(server))
        environment = describe_environment()
        samples = run_rounds(contenders, source, args)
    for line in table(samples, args.contenders):
        print(line)
    if args.json:
        write_json(args.json, args, environment, samples)
    return int(any(sample.error for sample in samples))


@contextlib.contextmanager
def joined_hosts(args: argparse.Namespace) -> Iterator[Hosts]:
    """The two hosts and the path between them that the arguments ask for."""
    if args.path == "loopback":
        yield Hosts(LOOPBACK, LOOPBACK)
    elif args.path == "veth":
        with veth_pair(args.mtu) as (client, server):
            yield Hosts(client, server, tcp_controller=args.controller)
    else:
        with shaped_link(*link_shapes(args), mtu=args.mtu, coalesce_s=args.coalesce) as link:
            yield Hosts(link.left, link.right, link.counters, args.controller)


def make_source(folder: Path, size_bytes: int, seed: int) -> Source:
    """A file of seeded random bytes in a directory of its own, to be served."""
    path = folder / "served" / "file.bin"
    path.parent.mkdir()
    draw, digest, left_bytes = random.Random(seed), hashlib.sha256(), size_bytes
    with path.open("wb") as file:
        while left_bytes:
            block = draw.randbytes(min(_BLOCK_BYTES, left_bytes))
            file.write(block)
            digest.update(block)
            left_bytes -= len(block)
    return Source(path, size_bytes, digest.hexdigest())


def run_rounds(
    contenders: Sequence[Served], source: Source, args: argparse.Namespace
) -> list[Sample]:
    """Warm up once, then fetch with everyone in each round; progress goes to standard error."""
    draw, samples = random.Random(args.seed), []
    for number in range(args.rounds + 1):
        for contender in draw.sample(contenders, len(contenders)):
            destination = contender.place.work / "fetched.bin"
            sample = contender.fetch(source, destination, number=number, timeout_s=args.timeout)
            outcome = sample.error or f"{sample.bytes_per_s / 1e6:.1f} MB/s"
            print(f"round {number or 'warm-up'}: {sample.contender}: {outcome}", file=sys.stderr)
            if number:
                samples.append(sample)
    return samples


def table(samples: Sequence[Sample], labels: Sequence[str]) -> list[str]:
    """A line per contender: rates in MB/s, the ratio to the first, both ends' CPU seconds per GB,
    peak memory in MB, and, on a link, bytes offered to it ÷ the file's size and the share lost.
    """
    width = max(map(len, labels))
    header = f"{'':{width}}  MB/s: median    min    max   ratio  s/GB: client server"
    lines = [header + "  MB: client server   sent   lost"]
    baseline = {s.round: s.bytes_per_s for s in samples if s.contender == labels[0]}
    for label in labels:
        own = [s for s in samples if s.contender == label]
        good = [s for s in own if not s.error]
        if not good:
            lines.append(f"{label:{width}}  failed: {own[0].error if own else 'never ran'}")
            continue
        rates = [s.bytes_per_s / 1e6 for s in good]
        ratios = [s.bytes_per_s / baseline[s.round] for s in good if baseline.get(s.round)]
        ratio = f"{statistics.median(ratios):7.2f}" if ratios else f"{'-':>7}"
        line = f"{label:{width}}  {statistics.median(rates):12.1f} {min(rates):6.1f}"
        line += f" {max(rates):6.1f} {ratio}{_costs(good)}"
        failed = len(own) - len(good)
        lines.append(line + (f"  {failed} of {len(own)} failed" if failed else ""))
    return lines + _doubts(samples)


def _doubts(samples: Sequence[Sample]) -> list[str]:
    """A line if the emulator could not keep up, so that the figures are not the link's."""
    links = [link for s in samples for link in (s.data_link, s.ack_link) if link]
    offered = sum(link.offered for link in links)
    late, overrun = sum(link.late for link in links), sum(link.overrun for link in links)
    if late + overrun <= _DOUBTFUL_SHARE * offered:
        return []
    shares = f"{late / offered:.1%} of the packets over 1 ms late, {overrun / offered:.2%} missed"
    return [f"Doubtful: this machine was too slow for the link ({shares})."]


def _costs(samples: Sequence[Sample]) -> str:
    """The right-hand columns of the table: processor, memory, link."""
    median = statistics.median
    client_cpu = median(s.client_cpu_s / s.size_bytes * 1e9 for s in samples)
    server_cpu = median(s.server_cpu_s / s.size_bytes * 1e9 for s in samples)
    client_rss = max(s.client_rss_bytes for s in samples) / 1e6
    server_rss = max(s.server_rss_bytes for s in samples) / 1e6
    text = f"  {client_cpu:12.2f} {server_cpu:6.2f}  {client_rss:10.0f} {server_rss:6.0f}"
    links = [(s.data_link, s.size_bytes) for s in samples if s.data_link]
    if links:
        sent = median(link.offered_bytes / size for link, size in links)
        gone = median((link.lost + link.dropped) / max(1, link.offered) for link, _ in links)
        text += f"  {sent:5.3f} {gone:6.2%}"
    return text


def describe_environment() -> dict[str, Any]:
    """What the figures depend on, as far as a program can tell."""
    settings = {}
    for key in _SETTINGS:
        with contextlib.suppress(OSError):
            path = f"/proc/sys/{key.replace('.', '/')}"
            settings[key] = " ".join(Path(path).read_text().split())
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "settings": settings,
        "curl": run("curl", "--version").split("\n")[0],
    }


def write_json(
    path: Path, args: argparse.Namespace, environment: dict[str, Any], samples: Sequence[Sample]
) -> None:
    """Write everything that a later report needs."""
    record = {
        "schema": JSON_SCHEMA,
        "arguments": {name: value for name, value in vars(args).items() if name != "json"},
        "environment": environment,
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
