"""``python -m bench``: measure, compare two runs, or make a run's report again.

python -m bench run --quick --where netns
python -m bench run --where netns --modes udpft --modes "nginx + curl" --size 100M --loss 1%
python -m bench run --where ssh --server ada@files.lan --size 1G
python -m bench compare OLD NEW --fail-above 5%
python -m bench report RUN
python -m bench publish RUN
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench import compare, environment, result, runner, scenarios, traced
from bench.links.arguments import parse_seconds, parse_share
from bench.peers import Peer, all_peers
from bench.report.verdict import PLACES
from bench.result import InvalidRun, Run, Scenario, Trace
from bench.where.hosts import Ground, HostFailed, Unavailable
from bench.where.ssh import Ssh, ssh
from udpft.units import parse_bytes

REPORTS = Path(__file__).parent / "reports"
ROUNDS, SECONDS_EACH = 15, 8.0
QUICK_ROUNDS, QUICK_SECONDS_EACH = 11, 3.0
WARM_UPS = 2


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    args = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: with a report
    try:
        return int(args.action(args) or 0)
    except (Unavailable, HostFailed, InvalidRun, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, and write a report")
    add = run.add_argument
    add("--quick", action="store_true", help="a few minutes: smaller files, fewer scenarios")
    add("--where", choices=[*PLACES], default="containers")
    add("--server", metavar="[USER@]HOST", help="of --where ssh: the other host")
    add("--rsh", default="ssh", help="and the remote shell: 'ssh -p 2222' (default: ssh)")
    most = f"at most (default: {ROUNDS}; {QUICK_ROUNDS} if quick), and as many as fit in"
    each = f"for a mode in a scenario (default: {SECONDS_EACH:g}; {QUICK_SECONDS_EACH:g} if quick)"
    add("--rounds", type=int, help=f"that count, {most} --seconds-each")
    add("--seconds-each", type=float, metavar="S", help=each)
    add("--warm-ups", type=int, default=WARM_UPS, help="rounds before, that do not")
    add("--seed", type=int, default=1, help="of files, orders and losses")
    add("--only", action="append", metavar="SCENARIO", help="or its group; may be repeated")
    add("--modes", action="append", metavar="MODE", help="only this one; may be repeated")
    add("--output", type=Path, help="the folder for the report (default: a new one)")
    own = run.add_argument_group("a scenario of your own, in the place of the table's")
    own.add_argument("--size", type=parse_bytes, help="of the file: 100M")
    own.add_argument("--mtu", type=int, default=1500)
    own.add_argument("--clients", type=int, default=1)
    own.add_argument("--loss", type=parse_share, default=0.0, help="each way: 1%%")
    own.add_argument("--rtt", type=parse_seconds, default=0.0, help="added to the path: 50ms")
    own.add_argument("--rate", type=parse_bytes, default=0, help="bits per second: 100M")
    run.set_defaults(action=_run)

    compared = commands.add_parser("compare", help="what changed between two runs, beyond noise")
    compared.add_argument("old", type=Path)
    compared.add_argument("new", type=Path)
    compared.add_argument("--fail-above", type=parse_share, metavar="SHARE", help="5%%")
    compared.set_defaults(action=_compare)

    for name, action, text in (
        ("report", _report, "write report.html and summary.md of a run again"),
        ("publish", _publish, "make a run the documents' one: docs/benchmarks and the README"),
    ):
        again = commands.add_parser(name, help=text)
        again.add_argument("run", type=Path, help="a run.json, or its folder")
        again.set_defaults(action=action)
    return parser


def _run(args: argparse.Namespace) -> int:
    write_reports = _report_writer()  # a run must not fail at its end for want of what draws
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = args.output or REPORTS / stamp
    peers = _chosen_peers(args.modes)
    chosen = _chosen_scenarios(args)
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[Run] = []

    def keep(run: Run) -> None:
        kept[:] = [run]
        result.write(run, folder / "run.json")

    with contextlib.suppress(KeyboardInterrupt), _ground(args) as ground:
        with ground.join(replace(chosen[0], loss=0.0, rtt_s=0.0, rate_bit_per_s=0.0)) as joined:
            facts = joined.client.call("describe")
            if isinstance(ground, Ssh):
                facts |= ground.describe()
                modes = runner.modes_of_both(peers, joined, args.where)
            else:
                modes = runner.modes_of(peers, joined.client, args.where)
        run = Run(
            stamp=stamp,
            where=args.where,
            quick=args.quick,
            seed=args.seed,
            rounds=args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS),
            warm_ups=args.warm_ups,
            seconds_each=args.seconds_each or (QUICK_SECONDS_EACH if args.quick else SECONDS_EACH),
            environment={"commit": environment.commit(), **facts},
            modes=modes,
            scenarios=tuple(chosen),
            interrupted=True,
        )
        run = runner.measure(run, peers, ground, keep)
        keep(replace(run, interrupted=False))
        keep(replace(kept[0], trace=_traced(ground)))
    if not kept:
        print("bench: interrupted before anything was measured", file=sys.stderr)
        return 130
    if not kept[0].trace:
        from bench.report.trace import simulated  # what draws and simulates is only for the end

        keep(replace(kept[0], trace=simulated()))
    write_reports(kept[0], folder)
    return 130 if kept[0].interrupted else 0


def _traced(ground: Ground) -> Trace | None:
    """One transfer over time, where the ground has such a path."""
    try:
        return traced.measured(ground)
    except (Unavailable, HostFailed) as error:
        print(f"bench: no transfer over time: {error}; it is simulated", file=sys.stderr)
        return None


def _chosen_peers(labels: Sequence[str] | None) -> list[Peer]:
    peers = all_peers()
    unknown = set(labels or ()) - {peer.label for peer in peers}
    if unknown:
        known = ", ".join(repr(peer.label) for peer in peers)
        raise Unavailable(f"no mode is called {sorted(unknown)[0]!r}; there are {known}")
    return [peer for peer in peers if not labels or peer.label in labels]


def _chosen_scenarios(args: argparse.Namespace) -> list[Scenario]:
    if args.size:
        own = Scenario(
            "custom",
            "custom",
            args.size,
            mtu=args.mtu,
            clients=args.clients,
            loss=args.loss,
            rtt_s=args.rtt,
            rate_bit_per_s=float(args.rate),
        )
        return [own]
    table = scenarios.QUICK if args.quick else scenarios.FULL
    chosen = [s for s in table if not args.only or {s.name, s.group} & set(args.only)]
    if not chosen:
        known = ", ".join(scenario.name for scenario in table)
        raise Unavailable(f"no scenario is called so; there are {known}")
    return chosen


def _ground(args: argparse.Namespace) -> AbstractContextManager[Ground]:
    where, seed = args.where, args.seed
    if where == "ssh":
        if not args.server:
            raise Unavailable("--where ssh takes --server [USER@]HOST")
        return ssh(args.server, args.rsh)
    if where == "containers":
        from bench.where.containers import containers

        return containers(seed)
    if where == "netns":
        from bench.where.netns import netns

        return netns(seed)
    from bench.where.loopback import loopback

    return loopback()


def _report_writer() -> Callable[[Run, Path], None]:
    """What writes a report into a folder, and says where; compare does without its imports."""
    from bench.report import html, markdown

    def write(run: Run, folder: Path) -> None:
        (folder / "summary.md").write_text(markdown.summary(run))
        (folder / "report.html").write_text(html.page(run))
        print(markdown.summary(run))
        for name in ("report.html", "summary.md", "run.json"):
            print(folder / name, file=sys.stderr)

    return write


def _compare(args: argparse.Namespace) -> int:
    changes = compare.changes(result.read(args.old), result.read(args.new))
    print(compare.table(changes))
    return compare.verdict(changes, args.fail_above)


def _report(args: argparse.Namespace) -> int:
    folder = args.run if args.run.is_dir() else args.run.parent
    _report_writer()(result.read(args.run), folder)
    return 0


def _publish(args: argparse.Namespace) -> int:
    from bench.report import publish

    publish.publish(result.read(args.run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
