"""docs/library.md: its examples run and print what it says, and its tables are complete."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import udpft
from tests.cli.processes import PATIENCE_S, environment
from tests.documents.test_documents import CONTENT, ROOT, rows, section
from tests.samples import sample
from udpft.api import ClientOptions, ServerOptions
from udpft.cli.app import cli
from udpft.client.tree_outcome import TreeParameters

PAGE = (ROOT / "docs/library.md").read_text()
PAIRS = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", PAGE, re.M | re.S)
EXAMPLES = [(code, shown) for code, shown in PAIRS if shown]
TESTS = {
    code.splitlines()[0].removeprefix("# "): code for code, _ in PAIRS if code.startswith("# ")
}


@pytest.fixture
def folder(here: Path) -> Path:
    """The folder that the page tells of."""
    (here / "files").mkdir()
    (here / "files/hello.txt").write_bytes(CONTENT)
    (here / "files/large.bin").write_bytes(sample(3 << 20))
    (here / "report.txt").write_text("report\n")
    (here / "docs/drafts").mkdir(parents=True)
    for name in ("a.txt", "a.bak", "drafts/b.txt"):
        (here / "docs" / name).write_text("a\n")
    (here / "docs/latest").symlink_to("a.txt")
    return here


def in_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder; in its development mode, which tells what was left open."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        env=environment(),
    )


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 14
    assert len(TESTS) == 3
    assert len(EXAMPLES) + len(TESTS) == PAGE.count("```python")


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=map(str, range(len(EXAMPLES))))
def test_an_example_prints_what_is_shown(folder: Path, code: str, shown: str) -> None:
    finished = in_python(folder, "-c", code)
    assert (finished.stdout, finished.stderr) == (shown, "")
    assert finished.returncode == 0


def test_the_tests_shown_pass(folder: Path) -> None:
    for name, code in TESTS.items():
        (folder / name).write_text(code)
    finished = in_python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert finished.returncode == 0, finished.stdout
    assert "3 passed" in finished.stdout
    assert "warning" not in finished.stdout


def test_every_function_is_in_the_table() -> None:
    listed = re.findall(r"^\| `udpft\.(\w+)\(", section(PAGE, "## Fetch and serve"), re.M)
    assert set(listed) == {
        "get",
        "read_bytes",
        "put",
        "list_files",
        "ping",
        "connect",
        "serve",
    }
    assert set(listed) < set(udpft.__all__)


def test_every_field_that_is_listed_is_there() -> None:
    fields = [row[0] for row in rows(section(PAGE, "## Fetch and serve")) if "udpft." not in row[0]]
    assert fields[0] == "name"
    assert len(fields) == 11
    for field in fields:
        assert hasattr(udpft.Result, field)


def test_every_method_and_option_of_a_client_is_listed() -> None:
    client = section(PAGE, "## A client")
    listed = re.findall(r"^\| `(\w+)\(", client, re.M)
    listed += re.findall(r"`(\w+)`", client.split("a few more methods")[1].split(".")[0])
    methods = {name for name, _ in inspect.getmembers(udpft.Client, inspect.isfunction)}
    assert set(listed) == {name for name in methods if not name.startswith("_")}
    options = inspect.signature(udpft.Client).parameters.values()
    named = re.findall(r"^\| `(\w+)` \|", client, re.M)
    assert named == [one.name for one in options if one.kind == one.KEYWORD_ONLY]
    assert named == list(ClientOptions.__annotations__)


NO_OPTIONS = {
    # keywords that no option has the name of, and why
    "offload": "for tests, and for kernels that misbehave",
    "stop": "a process has signals",
    "on_served": "the command logs it",
    "on_refused": "likewise",
    "on_notice": "likewise",
    "on_resume": "the command says it",
    "byte_range": "--range: a word of Python's",
    "rules": "--exclude and --include, in their order",
    "as_name": "--as: a word of Python's",
    "resume": "--no-resume: options default to off",
    "times": "--no-times: likewise",
}


@pytest.mark.parametrize(
    ("command", "function", "options"),
    [
        ("get", udpft.get, ClientOptions),
        ("put", udpft.put, ClientOptions),
        ("ls", udpft.list_files, ClientOptions),
        ("serve", udpft.serve, ServerOptions),
    ],
)
def test_keywords_are_the_long_options(command: str, function: Any, options: Any) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found
    long = {name[2:].replace("-", "_") for one in found.params for name in one.opts}
    parameters = inspect.signature(function).parameters.values()
    keywords = {one.name for one in parameters if one.kind == one.KEYWORD_ONLY}
    keywords |= set(options.__annotations__) if command in ("get", "serve") else set()
    assert keywords - long <= set(NO_OPTIONS)


OF_THE_TERMINAL = {
    "output",
    "help",
    "json",
    "json_lines",
    "metrics",
    "as",
    "no_resume",
    "no_times",
    "range",
    "rule",
}
OF_THE_TERMINAL |= {"rsh", "remote_udpft", "ports"}
OF_THE_TERMINAL |= {"trace_limit"}  # of the Trace that the keyword is
"""Long options that no keyword has the name of: they are of a terminal, or have another name."""


@pytest.mark.parametrize(
    ("command", "function", "options"),
    [("get", udpft.get, ClientOptions), ("put", udpft.put, ClientOptions)],
)
def test_the_long_options_are_keywords(command: str, function: Any, options: Any) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found
    long = {
        name[2:].replace("-", "_") for one in found.params for name in one.opts if name[1:2] == "-"
    }
    keywords = {*inspect.signature(function).parameters, *options.__annotations__}
    assert long - keywords <= OF_THE_TERMINAL


def test_a_client_is_asked_for_nothing_that_the_functions_cannot_ask() -> None:
    methods = {"get": ("fetch", "fetch_tree", "fetch_plain"), "put": ("store", "store_tree")}
    for function, names in methods.items():
        known = set(inspect.signature(getattr(udpft, function)).parameters)
        for name in names:
            asked = inspect.signature(getattr(udpft.Client, name)).parameters.values()
            keywords = {one.name for one in asked if one.kind == one.KEYWORD_ONLY}
            assert keywords <= known
        assert set(TreeParameters.__annotations__) - known <= {"hidden"}
