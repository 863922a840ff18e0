"""Options that commands share: the types of their arguments, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from udpft.cli.options import (
    QUANTITY,
    SECONDS,
    chunk_size_option,
    key_file_option,
    server_option,
    timeout_option,
)
from udpft.cli.output.console import Console


@pytest.mark.parametrize(
    ("text", "value"), [("4096", 4096), ("10M", 10_000_000), ("1.5Gi", 3 * 2**29)]
)
def test_quantities(text: str, value: int) -> None:
    assert QUANTITY(text) == value


@pytest.mark.parametrize("text", ["", "fast", "-1", "1X"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(click.BadParameter):
        QUANTITY(text)


@pytest.mark.parametrize(("text", "value"), [("2", 2.0), ("0.25", 0.25), ("1e3", 1000.0)])
def test_seconds(text: str, value: float) -> None:
    assert SECONDS(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a number of seconds above 0"):
        SECONDS(text)


@click.command
@server_option
@chunk_size_option
@timeout_option("So long.")
def tool(server: str, chunk_size: int | str | None, timeout: float) -> None:
    click.echo(f"{server} {chunk_size} {timeout}")


def test_defaults_words_and_variables() -> None:
    run = CliRunner().invoke
    assert run(tool, []).output == "127.0.0.1 None 30.0\n"
    assert run(tool, ["--chunk-size", "auto", "--timeout", "5"]).output == "127.0.0.1 auto 5.0\n"
    assert run(tool, ["--chunk-size", "8Ki"]).output == "127.0.0.1 8192 30.0\n"
    assert run(tool, [], env={"UDPFT_SERVER": "lab:7"}).output == "lab:7 None 30.0\n"


@click.command
@key_file_option
def keyed(key_file: str | None) -> None:
    click.echo(str(key_file))


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False)])
def test_a_key_file_that_others_can_read_is_told_at_v(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, warned: bool
) -> None:
    path = tmp_path / "key"
    path.touch(mode)
    path.chmod(mode)
    for verbosity in (0, 1):
        keyed.main(["--key-file", str(path)], standalone_mode=False, obj=Console(verbosity))
        out, err = capsys.readouterr()
        assert out == f"{path}\n"
        assert ("others can read" in err) == (warned and verbosity == 1)


def test_an_empty_key_file_is_none() -> None:
    assert CliRunner().invoke(keyed, ["--key-file", ""]).output == "None\n"
