"""``python -m bench.links --rate 100M --delay 50ms --loss 1%``: a link to try things on.

Prints how to run commands at its two ends, stays until Ctrl-C, and then prints its counters.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from dataclasses import asdict

from bench.links import LinkCounters, shaped_link
from bench.links.arguments import link_arguments, link_shapes


def main() -> None:
    """Hold a link open until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.links",
        description="Join two network namespaces by a link of the given shape.",
        parents=[link_arguments()],
    )
    args = parser.parse_args()
    try:
        forth, back = link_shapes(args)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with shaped_link(forth, back, mtu=args.mtu, coalesce_s=args.coalesce) as link:
        for side, end in (("left", link.left), ("right", link.right)):
            print(f"{side:5}  {end.address}  {' '.join(end.command(['COMMAND']))}")
        print("Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        print(f"\n{'':16}{'left → right':>16}{'right → left':>16}")
        for line in counter_lines(*link.counters()):
            print(line)


def counter_lines(forth: LinkCounters, back: LinkCounters) -> list[str]:
    """The counters of both directions side by side, one name a line."""
    there, here = asdict(forth), asdict(back)
    return [f"{name:16}{there[name]:16.6g}{here[name]:16.6g}" for name in there]


if __name__ == "__main__":
    main()
