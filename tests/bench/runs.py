"""Fixture: a small run that never took place, for tests of reports."""

from __future__ import annotations

from bench.result import ModeInfo, Proof, Run, Sample, Scenario, Trace

LAN = Scenario("lan-9000", "lan", 64 << 20)
LOSSY = Scenario("loss-1%", "loss", 4 << 20, mtu=1500, loss=0.01, rtt_s=0.02, rate_bit_per_s=1e8)
CLEAN = Scenario("loss-0%", "loss", 4 << 20, mtu=1500, rtt_s=0.02, rate_bit_per_s=1e8)
CROWD = Scenario("clients-4", "clients", 1 << 20, clients=4)
BIG = Scenario("size-1GiB", "size", 1 << 30)

MODES = (
    ModeInfo("udpft", "udpft", "reliable"),
    ModeInfo("udpft again", "udpft", "the same"),
    ModeInfo("udpft keyed", "udpft", "encrypted", missing="not there yet"),
    ModeInfo("nginx + curl", "tcp", "HTTP"),
    ModeInfo("uftp", "udp", "unicast", missing="not installed: uftp"),
    ModeInfo("aioquic", "udp", "QUIC <in Python>"),
)


def sample(scenario: Scenario, mode: str, number: int, mb_per_s: float, **more: object) -> Sample:
    """A run of a mode at a rate."""
    size_bytes = scenario.size_bytes * scenario.clients
    values = {
        "client_cpu_s": 0.1,
        "server_cpu_s": 0.05,
        "client_rss_bytes": 25_000_000,
        "server_rss_bytes": 26_000_000,
    } | more
    seconds = size_bytes / (mb_per_s * 1e6)
    return Sample(scenario.name, mode, number, seconds, size_bytes, **values)  # type: ignore[arg-type]


def samples(scenario: Scenario, **rates: list[float]) -> list[Sample]:
    """Rounds of some modes; underscores in names are blanks, and ``nginx`` is the reference."""
    made = []
    for name, values in rates.items():
        mode = "nginx + curl" if name == "nginx" else name.replace("_", " ")
        made += [sample(scenario, mode, at, value) for at, value in enumerate(values)]
    return made


def run() -> Run:
    """udpft is half as fast as TCP on the LAN, and five times where packets are lost."""
    made = samples(LAN, udpft=[500, 520, 480], nginx=[1000, 1010, 990])
    made += samples(LAN, udpft_again=[505, 515, 490])
    made += [sample(LAN, "aioquic", at, 5.0, error="exit 1: <b>no</b>") for at in range(3)]
    made.append(sample(LAN, "udpft", 0, 1.0, warm_up=True))
    made += samples(CLEAN, udpft=[11, 11.2, 10.9], nginx=[11, 11.1, 11.2], aioquic=[4, 4, 5])
    made += samples(LOSSY, udpft=[10, 10.1, 9.9], nginx=[2, 2.1, 1.9], aioquic=[1, 2, 1])
    made += samples(CROWD, udpft=[100, 100, 100], nginx=[100, 104, 96])
    return Run(
        stamp="20261005T140000Z",
        where="containers",
        quick=True,
        seed=1,
        rounds=3,
        warm_ups=2,
        seconds_each=4.0,
        environment={"kernel": "6.18", "processor": "2 × a <fast> one", "commit": "abc"},
        modes=MODES,
        scenarios=(LAN, CLEAN, LOSSY, CROWD, BIG),
        samples=tuple(made),
        proofs=(
            Proof("lan-9000", "none", 0, 0.0, 0.00005),
            Proof("loss-1%", "emulator", 40_000, 0.0103, 0.0205),
            Proof("loss-0%", "emulator", 0, 0.0, 0.0301),
        ),
        skipped={"size-1GiB": "no room for it in memory"},
        trace=Trace(
            "simulated", 12.5e6, (0.0, 0.1, 0.2), (0.0, 6e6, 12e6), (14480.0, 3e5, 1e6), (0.1,)
        ),
    )
