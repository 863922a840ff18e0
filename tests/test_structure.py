"""Structure of the code: imports between floors, descriptions, tests that mirror modules.

The floors are those of the pictures in docs/architecture.md, which this reads.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "udpft"
MODULES = sorted(PACKAGE.rglob("*.py"))

ARCHITECTURE = (PACKAGE.parent / "docs/architecture.md").read_text()

MAX_MODULES = 16

# What would let a clock, the network, the disk or chance into the protocols.
IMPURE = {"asyncio", "os", "pathlib", "secrets", "select", "selectors", "signal", "socket"}
IMPURE |= {"ssl", "subprocess", "tempfile", "threading", "time", "multiprocessing"}
IMPURE_CALLS = {"open", "print", "input", "Random", "id", "hash", "uuid.uuid4"}
IMPURE_CALLS |= {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

PROTOCOL_MAY_IMPORT = {"udpft.errors", "udpft.units", "udpft.protocol", "xxhash"}
PROTOCOL_MAY_IMPORT |= {"udpft.small_modes.exchange"}
PROTOCOL_MAY_IMPORT |= {"cryptography"}  # and only where there is a key
NET_MAY_IMPORT = {"udpft.errors", "udpft.protocol", "udpft.net", "udpft.units"}
STORAGE_MAY_IMPORT = {"udpft.errors", "udpft.protocol.params", "udpft.protocol.wire.data"}
STORAGE_MAY_IMPORT |= {
    "udpft.net.stop",  # what breaks reading off
    "udpft.protocol.contract",
    "udpft.protocol.handshake",
    "udpft.protocol.ranges",
    "udpft.protocol.wire.hello",
    "udpft.protocol.wire.listing",
    "udpft.storage",
    "udpft.units",
    "xxhash",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports_of(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every module that a module imports, wherever in it; as full names."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in NAMES else node.module), node


NAMES = {name_of(path) for path in MODULES}


def is_among(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def modules_of(package: str) -> list[Path]:
    return [path for path in MODULES if is_among(name_of(path), {package})]


@pytest.fixture(params=MODULES, ids=name_of)
def module(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


# ------------------------------------------------------------------------------------- imports


def floors_of(folder: str) -> dict[str, int]:
    """What stands in a folder, modules and folders, and on which floor: the lowest is 0.

    As the picture under the heading ``### Floors of `FOLDER` `` shows it.
    """
    heading = f"### Floors of `{folder}`"
    picture = ARCHITECTURE.split(f"{heading}\n")[1].split("```text\n")[1].split("```")[0]
    lines = [line.split() for line in picture.splitlines() if "↓" not in line]
    return {unit: floor for floor, units in enumerate(reversed(lines)) for unit in units}


PICTURED = re.findall(r"^### Floors of `(.*)`$", ARCHITECTURE, re.MULTILINE)


def units_in(folder: str) -> set[str]:
    """Modules and folders that stand directly in a folder."""
    children = (PACKAGE.parent / folder).iterdir()
    named = {child.stem for child in children if child.suffix == ".py"}
    named |= {
        child.name for child in (PACKAGE.parent / folder).iterdir() if any(child.glob("*.py"))
    }
    return named


def in_folder(module: str, folder: str) -> str | None:
    """Which module or folder in a folder a module is, or lies in; None for one elsewhere."""
    package = folder.strip("/").replace("/", ".")
    if module == package:
        return "__init__"
    return (
        module.removeprefix(f"{package}.").partition(".")[0] if is_below(module, package) else None
    )


def is_below(module: str, package: str) -> bool:
    return module.startswith(f"{package}.")


def init_of(folder: str) -> ast.Module:
    return tree_of(PACKAGE.parent / folder / "__init__.py")


@pytest.mark.parametrize("folder", PICTURED)
def test_a_picture_shows_all_that_stands_in_its_folder(folder: str) -> None:
    only_words = all(isinstance(node, ast.Expr) for node in init_of(folder).body)
    assert set(floors_of(folder)) == units_in(folder) - ({"__init__"} if only_words else set())


@pytest.mark.parametrize("folder", PICTURED)
def test_imports_go_downward(folder: str) -> None:
    floors = floors_of(folder)
    for path in MODULES:
        own = in_folder(name_of(path), folder)
        if own not in floors:
            continue
        for imported, node in imports_of(path):
            unit = in_folder(imported, folder)
            if unit is not None and unit != own and unit in floors:
                where = f"{path.name}:{node.lineno}"  # type: ignore[attr-defined]
                assert floors[unit] < floors[own], f"{where}: {own} imports {imported}"


FACE = "udpft.client.client"
BEHIND_THE_FACE = {name for name in NAMES if is_among(name, {"udpft.client"})} - {FACE}
USERS = [
    path
    for unit in ("api", "aio", "filesystem", "cli", "web", "diagnosis")
    for path in modules_of(f"udpft.{unit}")
]


@pytest.mark.parametrize("path", USERS, ids=name_of)
def test_a_client_is_used_by_its_face_alone(path: Path) -> None:
    assert {imported for imported, _ in imports_of(path)} & BEHIND_THE_FACE == set()


def test_who_is_behind_the_face_is_known() -> None:
    assert "udpft.client.connection" in BEHIND_THE_FACE
    assert any(imported == FACE for path in USERS for imported, _ in imports_of(path))


def rooms() -> dict[str, list[str]]:
    """The modules of each folder without a picture of its own, in the order of the map."""
    found: dict[str, list[str]] = {}
    for path in re.findall(r"^\| `([\w/]+\.py)` \|", ARCHITECTURE, re.MULTILINE):
        folder, _, module = f"udpft/{path}".rpartition("/")
        if f"{folder}/" not in PICTURED:
            found.setdefault(folder, []).append(module.removesuffix(".py"))
    return found


@pytest.mark.parametrize("folder", rooms())
def test_modules_of_a_room_import_only_those_that_the_map_has_below_them(folder: str) -> None:
    order = rooms()[folder]
    for path in MODULES:
        own = in_folder(name_of(path), folder)
        if own in order:
            for imported, node in imports_of(path):
                unit = in_folder(imported, folder)
                if unit in order and unit != own:
                    where = f"{path.name}:{node.lineno}"  # type: ignore[attr-defined]
                    assert order.index(unit) > order.index(own), f"{where}: imports {imported}"


def test_no_folder_is_crowded() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 9
    assert len(list((PACKAGE / "protocol").glob("*.py"))) <= 5
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        assert len(list(folder.glob("*.py"))) <= MAX_MODULES, folder


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {name_of(path): {name for name, _ in imports_of(path)} & NAMES for path in MODULES}
    settled: set[str] = set()
    while ready := {name for name in below if name not in settled and below[name] <= settled}:
        settled |= ready
    assert settled == set(below), f"in circles: {sorted(set(below) - settled)}"


SANS_IO = modules_of("udpft.protocol")
SANS_IO += [path for path in modules_of("udpft.small_modes") if path.stem != "conversation"]


@pytest.mark.parametrize("path", SANS_IO, ids=name_of)
def test_the_protocols_do_no_io_and_know_no_clock_and_no_chance(path: Path) -> None:
    for imported, _ in imports_of(path):
        top = imported.partition(".")[0]
        allowed = is_among(imported, PROTOCOL_MAY_IMPORT) or top in sys.stdlib_module_names
        assert allowed, f"{path.name} imports {imported}"
        assert top not in IMPURE, f"{path.name} imports {imported}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            names = [alias.name for alias in node.names]
            assert names == ["Random"], f"{path.name} takes {names} from random"
        if isinstance(node, ast.Import):
            assert "random" not in [alias.name for alias in node.names], path.name
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in IMPURE_CALLS, f"{path.name}:{node.lineno} calls {called}"


@pytest.mark.parametrize("path", modules_of("udpft.net"), ids=name_of)
def test_net_knows_the_protocols_and_nothing_above(path: Path) -> None:
    ours = [name for name, _ in imports_of(path) if is_among(name, {"udpft"})]
    assert all(is_among(name, NET_MAY_IMPORT) for name in ours), ours


@pytest.mark.parametrize("path", modules_of("udpft.storage"), ids=name_of)
def test_storage_knows_no_network(path: Path) -> None:
    for imported, _ in imports_of(path):
        top = imported.partition(".")[0]
        assert top not in {"socket", "select", "selectors", "asyncio"}, imported
        standard = top in sys.stdlib_module_names
        assert standard or is_among(imported, STORAGE_MAY_IMPORT), f"{path.name}: {imported}"


# ---------------------------------------------------------------------------------------- tests

UNTESTED = {
    "udpft": "public names of other modules: tests/test_api.py uses them",
    "udpft.__main__": "one call: every test of a process begins with it",
    "udpft.net.clock": "one name of the standard library's clock",
    "udpft.protocol.contract": "protocol classes and records, without code of their own",
    "udpft.protocol.server.outcome": "records without code of their own; see test_session",
    "udpft.testing.network": "public names of its modules",
    "udpft.testing.network.simulation": "the network that all stories are played on",
}
"""Modules without a test file of their name, and why."""


def mirror_of(path: Path) -> Path:
    """The file of a module's tests: a package's are named after its folder."""
    folder = PACKAGE.parent / "tests" / path.relative_to(PACKAGE).parent
    return folder / f"test_{path.parent.name if path.stem == '__init__' else path.stem}.py"


def test_each_module_has_a_test_file_that_mirrors_it() -> None:
    without = {
        name_of(path)
        for path in MODULES
        if not mirror_of(path).exists()
        and not all(isinstance(node, ast.Expr) for node in tree_of(path).body)
    }
    assert without == set(UNTESTED)


# ---------------------------------------------------------------------------------------- names


def test_no_module_is_a_drawer_for_everything(module: Path) -> None:
    assert module.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def test_nothing_is_called_get_something(module: Path) -> None:
    tree = tree_of(module)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.bases]
    owners: list[ast.Module | ast.ClassDef] = [tree, *classes]
    for owner in owners:  # what overrides a library's method has the library's name
        for node in owner.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert not node.name.startswith("get_"), f"{module.name}: {node.name}"


# -------------------------------------------------------------------------------- documentation


@cache
def described_methods() -> dict[str, set[str]]:
    """For each class of the package, by its simple name, the methods that have a docstring."""
    return {
        node.name: {child.name for child in functions_in(node) if ast.get_docstring(child)}
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    }


def functions_in(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [c for c in node.body if isinstance(c, (ast.FunctionDef, ast.AsyncFunctionDef))]


def undocumented(node: ast.Module | ast.ClassDef, owner: str) -> Iterator[str]:
    """Public classes and functions in a module or a class that have no docstring.

    A method that a base class describes needs no second description.
    """
    inherited: set[str] = set()
    if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        inherited = set().union(*(described_methods().get(base, set()) for base in bases))
    for child in node.body:
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if child.name.startswith("_") or child.name in inherited:
            continue
        if not ast.get_docstring(child):
            yield f"{owner}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, f"{owner}.{child.name}")


def test_everything_public_says_what_it_is(module: Path) -> None:
    tree = tree_of(module)
    assert ast.get_docstring(tree) or not tree.body, f"{module.name} has no docstring"
    assert list(undocumented(tree, module.stem)) == []


@pytest.mark.parametrize("folder", ["udpft", "bench", "tests"])
def test_the_first_line_of_a_module_names_the_thing(folder: str) -> None:
    riddles = {"What", "Where", "How", "Who", "Whose"}
    for path in (PACKAGE.parent / folder).rglob("*.py"):
        first = (ast.get_docstring(tree_of(path)) or "").split("\n")[0]
        assert not riddles & set(first.split()[:1]), f"{path.relative_to(PACKAGE.parent)}: {first}"


# --------------------------------------------------------------------------- what the network says


@pytest.mark.parametrize("path", SANS_IO, ids=name_of)
def test_a_decoder_of_network_bytes_is_called_untrusted(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("decode_"):
            assert node.name.endswith("_untrusted"), f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", SANS_IO, ids=name_of)
def test_above_every_struct_stand_its_fields(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in tree_of(path).body:
        value = getattr(node, "value", None)
        if value is not None and "struct.Struct(" in ast.unparse(value):
            above = takewhile(str.strip, reversed(lines[: node.lineno - 1]))
            assert any(line.startswith("#") for line in above), (
                f"{path.name}:{node.lineno} has no comment above it"
            )
