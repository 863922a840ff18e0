"""Run many random scenarios, or one again: ``python -m tests.sim --seeds 10000``, ``--seed 7``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterable

from tests.sim.scenario import Scenario


def play(seeds: Iterable[int]) -> list[int]:
    """Play the scenarios of seeds; say which of them fail, and why."""
    failed = []
    for seed in seeds:
        scenario = Scenario(seed)
        try:
            scenario.run()
        except Exception:
            failed.append(seed)
            print(f"{scenario}\n{traceback.format_exc()}failed: make sim SEED={seed}", flush=True)
    return failed


def main() -> int:
    """Play what the command line says; 1 where any scenario fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone")
    arguments = parser.parse_args()
    first = arguments.first
    one = arguments.seed is not None
    seeds = [arguments.seed] if one else range(first, first + arguments.seeds)
    began = time.monotonic()
    failed = play(seeds)
    took_s = time.monotonic() - began
    print(f"{len(seeds)} scenarios in {took_s:.0f} s, {len(failed)} failed {failed[:20] or ''}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
