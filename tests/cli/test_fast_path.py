"""Fast path of ``get``, parsed without click: as click would, or left to click."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.processes import PATIENCE_S, environment
from tests.samples import sample
from udpft.api import RunningServer
from udpft.cli.app import cli
from udpft.cli.commands.get import fetch
from udpft.cli.commands.get_options import command
from udpft.cli.fast_path import read_get
from udpft.cli.output.console import Console
from udpft.client.client import Client

READ = ["a.txt", "b/c", "x=y", "auto", "none", "10.0.0.1:9", "-f", "--force", "-r", "--json"]
READ += ["-s", "--server", "-o", "--output", "--chunk-size", "--progress", "--range", "5-9", "-7"]
LEFT = ["-", "--", "", "get", "4096", "--recursive", "-fr", "-sx", "-o=x", "--output=x", "--out"]
LEFT += ["-h", "-v", "--no-resume", "--mode", "plain", "--sha256", "--timeout", "2"]
WORD = st.sampled_from(READ) | st.sampled_from(READ) | st.sampled_from(LEFT)

ENVIRONMENTS = [{}, {"UDPFT_SERVER": "lab"}, {"UDPFT_SERVER": ""}, {"UDPFT_HOST": "0.0.0.0"}]
ENVIRONMENTS += [{"UDPFT_MODE": "plain"}, {"UDPFT_MODE": ""}, {"UDPFT_PROGRESS": "none"}]


def called(words: dict[str, Any]) -> dict[str, Any]:
    """All that `fetch` is called with, what it has by default too."""
    bound = inspect.signature(fetch).bind(Console(), **words)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    options = {key: value for key, value in arguments.pop("options").items() if value is not None}
    return arguments | options | {"names": list(arguments["names"])}


def by_click(arguments: list[str]) -> dict[str, Any]:
    """The same, as click reads it."""
    context = command.make_context("get", arguments[1:], obj=Console())
    return called(context.params)


CLIENT = inspect.signature(Client).parameters
DEFAULTS = {
    name: CLIENT[name].default for name in ("connect_timeout", "timeout", "limit_rate", "max_size")
}
"""What `Client` is not told, where click is not asked."""


@given(
    arguments=st.lists(WORD, max_size=6).map(lambda rest: ["get", *rest]),
    environ=st.sampled_from(ENVIRONMENTS),
)
def test_what_is_read_here_click_reads_the_same(
    arguments: list[str], environ: dict[str, str]
) -> None:
    words = read_get(arguments, environ)
    if words is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        assert DEFAULTS | called(words) == by_click(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "get a.txt",
        "get a.txt b.txt -s lab:9 -f",
        "get -s lab a.txt -o /tmp/x --json",
        "get -r folder --server lab --output there --force",
        "get big.iso --chunk-size auto --progress none",
        "get ./there:a.txt",
        "get there:a.txt -s lab",
    ],
)
def test_what_people_type_is_read_here(arguments: str) -> None:
    assert read_get(arguments.split(), {"UDPFT_SERVER": "lab", "UDPFT_HOST": "::"}) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "get",
        "get -f",
        "ls a.txt",
        "-v get a.txt",
        "get a.txt -s",
        "get a.txt --help",
        "get a.txt -fr",
        "get a.txt --output=b",
        "get a.txt -- -b",
        "get a.txt --mode plain",
        "get a.txt --chunk-size 4096",
        "get a.txt --progress loud",
        "get there:a.txt",
        "get user@there:dir/a.txt -r",
        "get ssh://there/a.txt",
        "get a.txt -s here -s there",
    ],
)
def test_the_rest_is_left_to_click(arguments: str) -> None:
    assert read_get(arguments.split(), {}) is None


def test_so_is_all_that_variables_of_the_environment_say_but_the_server() -> None:
    of_all = [param for param in (*command.params, *cli.params) if isinstance(param, click.Option)]
    variables = {str(param.envvar) for param in of_all if param.envvar}
    assert variables >= {"UDPFT_SERVER", "UDPFT_MODE", "UDPFT_KEY_FILE"}
    for name in variables | {"_UDPFT_COMPLETE"}:
        known = name in ("UDPFT_SERVER", "UDPFT_RSH", "UDPFT_REMOTE")  # the latter of HOST:PATH
        assert (read_get(["get", "a"], {name: "x"}) is None) != known, name


def run_get(server: RunningServer, tmp_path: Path, then: str) -> list[str]:
    """Get a file in a process of its own, and return the words that ``then`` prints at its end."""
    script = (
        "import sys, typing; from udpft.cli.main import run; "
        f"code = run(['get', '2049', '-s', '{server.address}', '-o', '{tmp_path}/']); "
        f"print(code, *{then})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    code, *words = done.stdout.split()
    assert code == "0"
    assert (tmp_path / "2049").read_bytes() == sample(2049)
    return words


def test_such_a_get_starts_without_click(server: RunningServer, tmp_path: Path) -> None:
    modules = run_get(server, tmp_path, "sys.modules")
    assert not any(name.startswith("udpft.remote") for name in modules)
    assert not {"subprocess", "threading", "udpft.storage.leftovers"} & set(modules)
    assert not {"click", "inspect", "tqdm", "udpft.server.server", "asyncio"} & set(modules)
    assert not {"udpft.trace", "udpft.net.traced", "json"} & set(modules), "of a trace"


def test_such_a_get_compiles_no_annotation(server: RunningServer, tmp_path: Path) -> None:
    # `typing.NamedTuple` compiles each one that is text: 4 ms of a start of 50 for all of them.
    classes = (
        "(class_.__qualname__ for name, module in list(sys.modules.items()) "
        "if name.startswith('udpft') for class_ in vars(module).values() "
        "if isinstance(class_, type) and hasattr(class_, '_field_defaults') and {}"
        "any(isinstance(a, typing.ForwardRef) for a in class_.__annotations__.values()))"
    )
    assert "Result" in run_get(server, tmp_path, classes.format("not "))
    assert run_get(server, tmp_path, classes.format("")) == []
