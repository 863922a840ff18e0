"""Boxes of docs/lab.md, run as they stand: each must print what it shows.

Both sides are blurred before they are compared, see `BLURS`. Ports of the page become free ones.
This is part two, on one machine; `tests/containers/test_lab.py` is part one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cli.processes import PATIENCE_S, environment

ROOT = Path(__file__).parents[2]
LAB = (ROOT / "docs/lab.md").read_text()

BLURS = [
    # what differs from run to run, and what stands for it
    (r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:?\d\d", "TIME"),
    (r"\b(\d+\.){3}\d+\b(:\d+)?", "ADDRESS"),
    (r'"port": \d+', "PORT"),
    (r"[\d.]+ (µs|ms|s|[kMG]?B/s|[kMG]?bit/s)(?!\w)", "QUANTITY"),
    (r"\b[1-9]\d* packets resent", "SOME packets resent"),  # none is none
    (r"[\d.]+ k?B of it sent", "SOME of it sent"),
    (r"^id [0-9a-f]{8}$", "ID"),
    (r"/\S*/tmp\.\w+", "FOLDER"),
    (r"(?<=html: )[\d.]+ kB", "SIZE"),
    (r"^Running as user .*\n", ""),  # tshark's word to root
    (r" {2,}(?=\S)", "  "),  # columns are as wide as an address
    (r"^  limited by .*\n", ""),  # told where a busy machine took half a second
]

SERVERS = re.compile(r"udpft serve|python3 lossy\.py|(echo .* \| )?nc -u -l")
"""How the commands begin that go on running; the others end by themselves."""

_PORT = re.compile(r"\b9\d0[01]\b")
_END = "\x1e"

# ------------------------------------------------------------------------------- the page, read


def part(title: str) -> dict[str, str]:
    """The steps below a heading of the page, by their headings; the first has none."""
    [text] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", LAB, re.MULTILINE | re.DOTALL)
    pieces = re.split(r"^### (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(["", *pieces[1::2]], pieces[::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks that are in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(box: str) -> list[str]:
    """What is typed in a box, line by line."""
    return re.findall(r"^\$ (.*)$", box, re.MULTILINE)


def blurred(output: str) -> str:
    """Output without what differs from run to run."""
    for pattern, word in BLURS:
        output = re.sub(pattern, word, output, flags=re.MULTILINE)
    return output.strip()


# ------------------------------------------------------------------------------- the page, done


def type_into_shell(
    lines: list[str],
    folder: Path,
    variables: Mapping[str, str],
    *,
    actual: Callable[[str], str] = str,
    patience_s: float = PATIENCE_S,
) -> str:
    """Run the commands of a box in one shell; return what its terminal would show.

    Args:
        lines: the commands, as the page has them.
        folder: where.
        variables: the whole environment.
        actual: what is run in place of a command.
        patience_s: how long a failing test waits for all of them together.
    """
    # A mark follows each command, and the next one still finds its exit code in $?.
    script = "".join(f"{actual(line)}\ncode=$?; printf '\\036'; (exit $code)\n" for line in lines)
    finished = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=patience_s,
    )
    outputs = finished.stdout.decode().split(_END)[:-1]
    return "".join(f"$ {line}\n{out}" for line, out in zip(lines, outputs, strict=True))


class Bench:
    """A folder to work in, ``udpft`` on the path, and a free port for each port of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip(sorted(set(_PORT.findall(LAB))), free_ports(), strict=False))
        programs = folder.with_name(f"{folder.name}-programs")
        programs.mkdir()
        for name, words in (("udpft", "-m udpft"), ("python3", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            (programs / name).chmod(0o755)
        self.variables = environment(
            PATH=f"{programs}:{os.environ['PATH']}",
            PYTHONPATH=str(ROOT),
            UDPFT_PORT=str(self._ports["9000"]),
            UDPFT_SERVER=f"127.0.0.1:{self._ports['9000']}",
            UDPFT_ADD_SERVER=f"127.0.0.1:{self._ports['9001']}",
        )

    def actual(self, line: str) -> str:
        """A command with free ports in place of the page's, and this clone."""
        line = line.replace("/path/to/the/clone", str(ROOT))
        return _PORT.sub(lambda match: str(self._ports[match[0]]), line)

    def type(self, box: str) -> None:
        """Run a box whose commands end; see that it shows what it should."""
        printed = type_into_shell(commands(box), self.folder, self.variables, actual=self.actual)
        assert blurred(printed) == blurred(box)

    @contextmanager
    def running(self, box: str, log: Path) -> Iterator[None]:
        """Start a box that goes on; wait until it listens, and at the end until all is shown."""
        [line] = commands(box)
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.actual(line),
                shell=True,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            named = _PORT.search(line)
            listening = f":{self._ports[named[0] if named else '9000']:04X} "
            assert wait_until(lambda: listening in Path("/proc/net/udp").read_text()), line
            yield
            wait_until(lambda: blurred(f"$ {line}\n{log.read_text()}") == blurred(box))
            assert blurred(f"$ {line}\n{log.read_text()}") == blurred(box)  # shows how they differ
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_ports() -> list[int]:
    """Eight UDP ports of loopback that nobody uses."""
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(8)
        ]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


def wait_until(holds: Callable[[], bool]) -> bool:
    """Look again until it holds, for as long as patience lasts; return whether it does."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            return False
    return True


# ----------------------------------------------------------------------------------- the steps

PART_TWO = part("Part two: by hand")
DEMO = "10. How fast?"

needs_netcat = pytest.mark.skipif(
    not shutil.which("nc"), reason="needs netcat (Debian: netcat-openbsd)"
)
needs_tshark = pytest.mark.skipif(
    not shutil.which("tshark"), reason="needs tshark (Debian: tshark)"
)
STEPS = [
    pytest.param(
        heading,
        marks=needs_netcat if " nc " in text else needs_tshark if "$ tshark" in text else (),
    )
    for heading, text in PART_TWO.items()
    if heading not in ("", DEMO)
]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Where each step begins: what part two says before its first one has been done."""
    folder = tmp_path / "lab"
    folder.mkdir()
    bench = Bench(folder)
    [lossy] = blocks(LAB, "python")
    (folder / "lossy.py").write_text(lossy)
    for box in blocks(PART_TWO[""], "console"):
        bench.type(box)
    return bench


@pytest.mark.parametrize("heading", STEPS)
def test_a_step_by_hand_is_as_shown(heading: str, bench: Bench, tmp_path: Path) -> None:
    with ExitStack() as terminals:
        for number, box in enumerate(blocks(PART_TWO[heading], "console")):
            if SERVERS.match(commands(box)[0]):
                terminals.enter_context(bench.running(box, tmp_path / f"terminal-{number}"))
            else:
                bench.type(box)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_the_demo_is_as_shown(bench: Bench) -> None:
    [box] = blocks(PART_TWO[DEMO], "console")
    [shown] = blocks(PART_TWO[DEMO], "text")
    printed = type_into_shell(
        commands(box),
        ROOT,
        bench.variables,
        # Nothing is installed: it is the one under test that is shown.
        actual=lambda line: line.replace("make", "make -o .venv/tool.stamp"),
        patience_s=100,
    )
    assert blurred(printed) == blurred(box + shown)


def test_no_box_is_left_out() -> None:
    """What is in neither part would be run by nobody."""
    parts = part("Part one: in containers"), PART_TWO
    found = [box for steps in parts for text in steps.values() for box in blocks(text, "console")]
    assert found == blocks(LAB, "console")
    assert len(found) == len(re.findall(r"^```console", LAB, re.MULTILINE)) > 20
    assert LAB.count("```") == 2 * (len(found) + 2)  # and lossy.py, and what the demo prints
