"""Fuzz all targets, each for its share of the time: ``python -m tests.fuzz --minutes 5``.

With atheris, the search is guided by coverage. Where that cannot be installed, the corpus is
mutated blindly, and a line says so. What breaks a promise is left in a file that is named, and
belongs into ``tests/fuzz/corpus`` once it is mended.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random

from tests.fuzz.seeds import CORPUS
from tests.fuzz.targets import TARGETS

_LONGEST = 4_096


def mutated(corpus: list[bytes], random: Random) -> bytes:
    """One of the corpus, cut, spliced and damaged."""
    data = bytearray(random.choice(corpus))
    for _ in range(random.randint(1, 6)):
        at, kind = random.randrange(len(data) + 1), random.randrange(4)
        if kind == 0:
            data[at : at + random.randrange(9)] = random.randbytes(random.randrange(9))
        elif kind == 1:
            other = random.choice(corpus)
            data[at:at] = other[random.randrange(len(other) + 1) :]
        elif kind == 2:
            del data[at : at + random.randrange(40)]
        elif data:
            data[at % len(data)] ^= 1 << random.randrange(8)
    return bytes(data[:_LONGEST])


def corpus_of(target: str) -> list[bytes]:
    """The kept inputs of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def fuzz_blindly(target: str, seconds: float, seed: int) -> int:
    """Mutate the corpus for a while; return how many inputs that were."""
    random, corpus, runs = Random(seed), corpus_of(target), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutated(corpus, random)
        try:
            TARGETS[target](data)
        except Exception:
            Path(f"crash-{target}").write_bytes(data)
            print(f"{target}: see crash-{target}", flush=True)
            raise
        runs += 1
    return runs


def fuzz_guided(target: str, seconds: float) -> int:
    """Let atheris look for new paths for a while; return its exit code."""
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", "tests.fuzz.guided", target, found, str(CORPUS / target)]
        command += [f"-max_total_time={max(1, round(seconds))}", f"-max_len={_LONGEST}"]
        command += [f"-artifact_prefix={os.getcwd()}/crash-{target}-", "-timeout=20"]
        done = subprocess.run(
            [*command, "-print_final_stats=1"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stderr[-4_000:])
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        new = len(os.listdir(found))
        print(f"{target}: {runs and runs[1]} inputs, {new} of them with new coverage", flush=True)
        return done.returncode


def main() -> int:
    """Fuzz; 1 where any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--target", choices=TARGETS, action="append")
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    share_s = 60 * arguments.minutes / len(targets)
    if find_spec("atheris"):
        codes = [fuzz_guided(target, share_s) for target in targets]
        return int(any(codes))
    print("atheris is not installed: mutating the corpus without a guide", flush=True)
    for target in targets:
        print(f"{target}: {fuzz_blindly(target, share_s, time.time_ns())} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
