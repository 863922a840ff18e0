"""Environment of a run, as far as a program can tell: figures depend on it, so it is recorded."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

_SETTINGS = (
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_congestion_control",
)

_VERSIONS = {
    "nginx": ["nginx", "-v"],
    "curl": ["curl", "--version"],
    "iperf3": ["iperf3", "--version"],
    "uftp": ["dpkg-query", "--show", "uftp"],
    "atftp": ["atftp", "--version"],
    "srt-file-transmit": ["srt-file-transmit", "-version"],
}
"""How each program tells its version; nginx and atftp do so on standard error. uftp does not."""

_OFFLOADS = ("tx-udp-segmentation", "tcp-segmentation-offload", "generic-receive-offload")


def describe() -> dict[str, str]:
    """This host: kernel, processor, memory, settings of the network, versions of programs."""
    facts = {
        "kernel": platform.release(),
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": _memory(),
        "python": platform.python_version(),
    }
    for key in _SETTINGS:
        with contextlib.suppress(OSError):
            facts[key] = " ".join(Path("/proc/sys", key.replace(".", "/")).read_text().split())
    facts |= _devices()
    for program, command in _VERSIONS.items():
        if shutil.which(program):
            facts[program] = _first_number(command)
    for distribution in ("udpft", "aioquic", "xxhash"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[distribution] = importlib.metadata.version(distribution)
    return facts


def commit() -> str:
    """The commit of this clone, with a plus sign if anything has changed since; or nothing."""
    root = Path(__file__).parents[1]
    try:
        words = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _memory() -> str:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{kib / 2**20:.1f} GiB"


def _devices() -> dict[str, str]:
    """Of each network device but loopback: its MTU, and which offloads are on."""
    facts = {}
    for device in sorted(Path("/sys/class/net").iterdir()):
        if device.name == "lo" or not (device / "mtu").exists():
            continue
        words = [f"MTU {(device / 'mtu').read_text().strip()}"]
        if shutil.which("ethtool"):
            listed = subprocess.run(
                ["ethtool", "-k", device.name], capture_output=True, text=True
            ).stdout
            words += [
                f"{name} {state[1]}"
                for name in _OFFLOADS
                if (state := re.search(rf"^{name}: (\w+)", listed, re.MULTILINE))
            ]
        facts[f"device {device.name}"] = ", ".join(words)
    return facts


def _first_number(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "version unknown"
    found = re.search(r"\d+\.\d+(\.\d+)*", ended.stdout + ended.stderr)
    return found[0] if found else "version unknown"
