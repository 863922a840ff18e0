"""Packages that are shipped: the wheel, the source distribution, the unit for systemd."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_bytes
from email.message import Message
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import click
import pytest
from packaging.requirements import Requirement

import udpft
from tests.cli.processes import PATIENCE_S, environment
from tests.documents.test_documents import README, ROOT, rows, section
from tests.test_structure import MODULES, PACKAGE
from udpft.cli.app import cli
from udpft.keys import new_key_file

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNIT = ROOT / "contrib/udpft.service"


def build(target: str, folder: Path) -> Path:
    """Build a distribution with what is installed here, and no network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=3 * PATIENCE_S,
    )
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        told = {name.rpartition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    modules = {str(path.relative_to(PACKAGE.parent)) for path in MODULES}
    assets = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("assets/*.*")}
    assert len(assets) >= 3
    assert names == modules | assets | {"udpft/py.typed"}
    assert told == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}
    assert wheel.name == f"udpft-{udpft.__version__}-py3-none-any.whl"


def test_its_metadata_are_what_people_see(wheel: Path) -> None:
    told = metadata(wheel)
    assert (told["Name"], told["Version"]) == ("udpft", udpft.__version__)
    assert (told["License-Expression"], told["Requires-Python"]) == ("MIT", ">=3.11")
    assert set(told.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    needed = [one for one in told.get_all("Requires-Dist", []) if "extra" not in one]
    assert sorted(re.split("[>=]", one)[0] for one in needed) == ["click", "tqdm", "xxhash"]
    assert "Typing :: Typed" in told.get_all("Classifier", [])
    assert "## A session" in str(told.get_payload())


def test_every_command_starts_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    code = """
        import sys, udpft
        from udpft.cli.app import cli
        from udpft.cli.main import run
        import click
        assert ".whl" in udpft.__file__, udpft.__file__
        for command in cli.list_commands(click.Context(cli)):
            assert run([command, "--help"]) == 0, command
            print("=", command)
    """
    finished = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(wheel)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert finished.returncode == 0, finished.stderr
    started = re.findall("^= (.*)$", finished.stdout, re.M)
    assert started == cli.list_commands(click.Context(cli))


def test_the_source_distribution_can_be_tested(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").glob("*.md")]:
        assert str(path.relative_to(ROOT)) in names
    assert names >= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile"}
    assert names >= {"contrib/udpft.service", ".ci/check", "data/hello.txt", "PKG-INFO"}
    assert names >= {"SECURITY.md", ".github/workflows/ci.yml", ".pre-commit-config.yaml"}
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]


def test_versions_and_extras_agree() -> None:
    assert PROJECT["version"] == udpft.__version__
    assert {"keys", "test", "testing", "bench", "fuzz", "supply"} <= set(
        PROJECT["optional-dependencies"]
    )
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[(Unreleased|{re.escape(udpft.__version__)})\]", changes, re.M)


# ------------------------------------------------------------------------------ where it is hosted

WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()


def test_each_python_that_is_promised_is_tested() -> None:
    [matrix] = re.findall(r"^ +python: \[(.*)\]$", WORKFLOW, re.M)
    tested = re.findall(r'"([\d.]+)"', matrix)
    known = [re.fullmatch(r"Programming .* :: (3\.\d+)", one) for one in PROJECT["classifiers"]]
    assert tested == [one[1] for one in known if one]
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert "PYTHON: python${{ matrix.python }}" in WORKFLOW
    assert "PYTHON ?= " in (ROOT / "Makefile").read_text()  # so that the environment's wins


def test_what_a_push_runs_are_the_commands_of_the_readme() -> None:
    run = re.findall(r"^ +- run: (.*)$", WORKFLOW, re.M)
    shown = [line.partition("#")[0].strip() for line in section(README, "## Try it").splitlines()]
    assert run == [line for line in shown if line in ("make demo", "make test")]
    assert len(run) == 2


def test_a_push_may_read_and_nothing_else() -> None:
    [permissions] = re.findall(r"^ *permissions:\n((?: +.*\n)+)", WORKFLOW, re.M)
    assert permissions.split() == ["contents:", "read"]


def test_hooks_run_the_installed_tools_and_download_none() -> None:
    entries = [line.split() for line in re.findall(r"^ +entry: (.*)$", HOOKS, re.M)]
    assert {entry[0] for entry in entries} == {".venv/bin/ruff", ".venv/bin/mypy"}
    assert re.findall(r"^ *- repo: (.*)$", HOOKS, re.M) == ["local"]
    checks = (ROOT / ".ci/check").read_text()
    for entry in entries:  # as the checks call them, but for the files, which a hook names
        words = [word for word in entry if word != "--force-exclude"]
        assert " ".join(words).removeprefix(".venv/bin/") in checks


# ----------------------------------------------------------------------------------- supply chain

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKS = ("requirements.lock", "build.lock", "web.lock")


def locked(name: str) -> dict[str, str]:
    """Versions of the packages in a lock."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+) \\$", (ROOT / name).read_text(), re.M))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_of_all_and_names_no_index(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line[0] != "#"]
    assert lines
    for before, line in pairwise(["", *lines]):
        if not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line):
            assert re.fullmatch(r"[\w.-]+==[\w.]+ \\", line)
            assert not before.endswith("\\")  # the one before has its hashes
    assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", lines[-1])


def test_what_is_locked_is_what_is_needed_and_no_older() -> None:
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["keys"]]
    versions = locked("requirements.lock")
    for one in map(Requirement, needed):
        assert versions[one.name] in one.specifier
    page = locked("web.lock")
    for one in map(Requirement, PROJECT["optional-dependencies"]["web"]):
        assert page[one.name.lower()] in one.specifier
    for name in page.keys() & versions.keys():  # both go into the image of the page
        assert page[name] == versions[name]
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    [backend] = map(Requirement, system["requires"])
    assert locked("build.lock")[backend.name] in backend.specifier


def test_no_floor_is_a_version_that_was_withdrawn_or_fails() -> None:
    extras = PROJECT["optional-dependencies"]
    floors = {one.name: one.specifier for one in map(Requirement, PROJECT["dependencies"])}
    assert "3.4.0" not in floors["xxhash"]  # yanked
    assert "3.4.1" in floors["xxhash"]
    assert "8.3.0" not in floors["click"]  # its "did you mean" has other words than we show
    assert "8.4.0" in floors["click"]
    [metrics] = map(Requirement, extras["metrics"])
    assert "0.19.0" not in metrics.specifier  # its server cannot be stopped


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    tool = DOCKERFILE.split("AS test")[0]
    installs = re.findall(r"pip (?:install|wheel) (.*)$", tool, re.M)
    assert len(installs) == 6
    for words in installs:
        assert re.search("--require-hashes|--no-deps --no-build-isolation|--no-index", words)


def test_the_base_image_can_be_named_by_its_digest_and_the_user_is_a_number() -> None:
    assert re.search("^ARG BASE=", DOCKERFILE, re.M)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert set(bases) == {"${BASE}", "wheels", "tool"}
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.M)
    assert users[0] == "1000:1000"
    assert set(users) == {"1000:1000", "root"}  # root only where a stage is built


def test_what_compose_runs_has_limits_of_memory_and_processes() -> None:
    tool = (ROOT / "compose.yml").read_text().split("services:")[0]
    assert re.search(r"^  mem_limit: \d+m$", tool, re.M)
    assert re.search(r"^  pids_limit: \d+$", tool, re.M)


# ---------------------------------------------------------------------------------------- systemd


def settings(name: str) -> list[str]:
    """The values that the unit gives a setting, comments aside."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)


def test_the_unit_starts_a_command_that_exists() -> None:
    [line] = settings("ExecStart")
    _, command, *arguments = shlex.split(line)
    found = cli.get_command(click.Context(cli), command)
    assert found
    assert found.make_context(command, arguments).params["directory"] == Path("/srv/udpft")
    variables = {row[0] for row in rows(section(README, "## Environment"))}
    named = {one.partition("=")[0] for one in settings("Environment")}
    named |= set(re.findall(r"^#\s+Environment=(\w+)=", UNIT.read_text(), re.M))
    assert named == {"UDPFT_HOST", "UDPFT_KEY_FILE"} <= variables


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(tmp_path: Path) -> None:
    unit = tmp_path / "udpft.service"
    command = shutil.which("true")
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={command}", UNIT.read_text()))
    for words in (["verify"], ["security", "--offline=true", "--threshold=20"]):
        checked = subprocess.run(
            ["systemd-analyze", *words, str(unit)], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert str(unit) not in checked.stderr


def test_the_health_check_finds_what_the_server_finds(samples: Path, tmp_path: Path) -> None:
    [check] = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", DOCKERFILE, re.MULTILINE)
    command = tmp_path / "udpft"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m udpft "$@"\n')
    command.chmod(0o755)
    new_key_file(tmp_path / "key")
    with udpft.serve(samples, port=0, key_file=tmp_path / "key") as server:
        found = environment(
            PATH=f"{tmp_path}:{os.environ['PATH']}",
            UDPFT_PORT=str(server.port),
            UDPFT_KEY_FILE=str(tmp_path / "key"),
        )
        assert subprocess.run(["sh", "-c", check], env=found, cwd=ROOT, check=False).returncode == 0
    stopped = subprocess.run(["sh", "-c", check], env=found, cwd=ROOT, check=False)
    assert stopped.returncode == 1


def test_nothing_tells_to_install_from_an_index_that_does_not_have_it() -> None:
    assert "not on the package index yet" in section(README, "## Try it")
    asks = re.compile(r"(?:pip3? install|pipx (?:install|run)|uvx|uv tool install) ['\"]?udpft\b")
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("contrib/*")]
    files += (ROOT / "udpft").rglob("*.py")
    assert asks.search("`pip install 'udpft[keys]'`")
    assert asks.search("uvx udpft")
    assert [str(one) for one in files if one.is_file() and asks.search(one.read_text())] == []
