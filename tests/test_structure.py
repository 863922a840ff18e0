"""The shape of the code: who imports whom, how long things are, what says what it is."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "udpft"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 450

LAYERS = {
    # what a module's name begins with: the layer that it belongs to, the lowest first
    "udpft.errors": 0,
    "udpft.units": 0,
    "udpft.protocol": 1,
    "udpft.net": 2,
    "udpft.storage": 2,
    "udpft.job": 3,
    "udpft.served": 3,
    "udpft.keys": 3,
    "udpft.progress": 3,
    "udpft.metrics": 4,
    "udpft.effort": 3,
    "udpft.destination": 3,
    "udpft.plain_client": 3,
    "udpft.result": 3,
    "udpft.sources": 3,
    "udpft.uploads": 3,
    "udpft.tree_destination": 3,
    "udpft.plain_server": 3,
    "udpft.client": 4,
    "udpft.speed": 4,
    "udpft.tree_client": 4,
    "udpft.measured": 4,
    "udpft.upload_client": 4,
    "udpft.tree_upload": 4,
    "udpft.server": 4,
    "udpft.api": 5,
    "udpft.doctor": 5,
    "udpft.aio": 6,
    "udpft": 7,
    "udpft.testing": 8,
    "udpft.cli": 8,
    "udpft.__main__": 9,
}

# What would let a clock, the network, the disk or chance into the protocols.
IMPURE = {"asyncio", "os", "pathlib", "secrets", "select", "selectors", "signal", "socket"}
IMPURE |= {"ssl", "subprocess", "tempfile", "threading", "time", "multiprocessing"}
IMPURE_CALLS = {"open", "print", "input", "Random", "id", "hash", "uuid.uuid4"}
IMPURE_CALLS |= {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

PROTOCOL_MAY_IMPORT = {"udpft.errors", "udpft.units", "udpft.protocol", "xxhash"}
PROTOCOL_MAY_IMPORT |= {"cryptography"}  # and only where there is a key
NET_MAY_IMPORT = {"udpft.errors", "udpft.protocol", "udpft.net", "udpft.units"}
STORAGE_MAY_IMPORT = {"udpft.errors", "udpft.protocol.params", "udpft.protocol.burst"}
STORAGE_MAY_IMPORT |= {
    "udpft.protocol.ranges",
    "udpft.protocol.listing",
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


def layer_of(module: str) -> int:
    """The layer of the longest name that a module's name begins with."""
    fitting = [name for name in LAYERS if module == name or module.startswith(name + ".")]
    return LAYERS[max(fitting, key=len)]


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


def test_imports_go_downward(module: Path) -> None:
    own = name_of(module)
    for imported, node in imports_of(module):
        if not is_among(imported, {"udpft"}):
            continue
        where = f"{module.name}:{node.lineno}"  # type: ignore[attr-defined]
        same_package = imported.rpartition(".")[0] == own.rpartition(".")[0] or imported in own
        same_package = same_package or imported.startswith(f"{own}.")
        assert layer_of(imported) <= layer_of(own), f"{where}: {own} imports {imported}"
        if layer_of(imported) == layer_of(own):
            assert same_package, f"{where}: {own} imports {imported} beside it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {name_of(path): {name for name, _ in imports_of(path)} & NAMES for path in MODULES}
    settled: set[str] = set()
    while ready := {name for name in below if name not in settled and below[name] <= settled}:
        settled |= ready
    assert settled == set(below), f"in circles: {sorted(set(below) - settled)}"


@pytest.mark.parametrize("path", modules_of("udpft.protocol"), ids=name_of)
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


# ---------------------------------------------------------------------------------------- sizes


def test_no_file_is_long(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_FILE_LINES


def test_no_function_is_long(module: Path) -> None:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{module.name}: {node.name} has {lines} lines"


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
    assert ast.get_docstring(tree), f"{module.name} has no docstring"
    assert list(undocumented(tree, module.stem)) == []


# --------------------------------------------------------------------------- what the network says


@pytest.mark.parametrize("path", modules_of("udpft.protocol"), ids=name_of)
def test_a_decoder_of_network_bytes_is_called_untrusted(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("decode_"):
            assert node.name.endswith("_untrusted"), f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", modules_of("udpft.protocol"), ids=name_of)
def test_above_every_struct_stand_its_fields(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in tree_of(path).body:
        value = getattr(node, "value", None)
        if value is not None and "struct.Struct(" in ast.unparse(value):
            above = takewhile(str.strip, reversed(lines[: node.lineno - 1]))
            assert any(line.startswith("#") for line in above), (
                f"{path.name}:{node.lineno} has no comment above it"
            )
