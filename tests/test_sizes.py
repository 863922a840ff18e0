"""Limits of what a reader has to hold in mind at once, in all of the code, tests included.

They are no target: whatever meets one is taken apart along its joints, or stays below it whole.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("udpft", "bench", "tests")

MAX_ATTRIBUTES = 20
"""Of one object: what is assigned to ``self``, the slots, and the fields of a record."""

MAX_ARGUMENTS = 7
"""Of a function: as many as people tell apart without looking them up (Miller 1956)."""

MAX_CONSTRUCTOR_ARGUMENTS = 8
"""Of a constructor that somebody wrote. A record has one parameter a field, by name."""

MAX_FUNCTION_LINES = 70
"""Of a function with its docstring: a screen."""

MAX_MODULE_LINES = 600
"""Of a file: what is still one thing."""

OPTIONS_OF_THE_PUBLIC_API = ("udpft/api.py", "udpft/client/client.py", "udpft/server/server.py")
OPTIONS_OF_THE_PUBLIC_API += ("udpft/testing/",)
"""Keyword-only parameters with a default are not counted here: who calls names those that she
means, and needs not know the others."""

OPTIONS_OF_THE_COMMAND_LINE = "udpft/cli/commands/"
"""Nor are a command's parameters here: they are its options, and click passes them by name."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Definition: TypeAlias = ast.ClassDef | Function


class Found(NamedTuple):
    """A class or a function: the file, relative to the project, and its name with its owners'."""

    file: str
    name: str
    node: Definition


@cache
def sources() -> dict[str, str]:
    """The text of each module, by its path."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def within(node: ast.AST, owner: str = "") -> Iterator[tuple[str, Definition]]:
    """All classes and functions in a node, at any depth."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{owner}{child.name}", child
            yield from within(child, f"{owner}{child.name}.")
        else:
            yield from within(child, owner)


@cache
def definitions() -> list[Found]:
    return [
        Found(file, name, node)
        for file, text in sources().items()
        for name, node in within(ast.parse(text, file))
    ]


# ------------------------------------------------------------------------------- what is counted


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Attributes of an object that its class gives it, leaving aside those of the bases."""
    found: set[str] = set()
    for child in node.body:
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            found.add(child.target.id)
        elif isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "__slots__":
            slots = ast.literal_eval(child.value)
            found |= {slots} if isinstance(slots, str) else set(slots)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found |= assigned_in(child)
    return found


def assigned_in(method: Function) -> set[str]:
    """The attributes that a method sets on its first parameter."""
    first = [one.arg for one in [*method.args.posonlyargs, *method.args.args]][:1]
    return {
        node.attr
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and [node.value.id] == first
    }


def is_command(node: Function) -> bool:
    """Whether a function is a command of click, whose options are its parameters."""
    called = [one.func for one in node.decorator_list if isinstance(one, ast.Call)]
    return any(isinstance(one, ast.Attribute) and one.attr == "command" for one in called)


def arguments_of(found: Found) -> int:
    """Number of parameters that whoever calls a function has to know."""
    assert not isinstance(found.node, ast.ClassDef)
    args = found.node.args
    positional = [one.arg for one in [*args.posonlyargs, *args.args]]
    if positional[:1] in (["self"], ["cls"]):
        del positional[0]
    if found.file.startswith(OPTIONS_OF_THE_COMMAND_LINE):
        return 0 if is_command(found.node) else len(positional)
    optional = sum(default is not None for default in args.kw_defaults)
    is_public = found.file.startswith(OPTIONS_OF_THE_PUBLIC_API)
    return len(positional) + len(args.kwonlyargs) - (optional if is_public else 0)


def lines_of(node: Definition) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


# ------------------------------------------------------------------------------------ the limits


def too_large(unit: str, sizes: dict[str, int], limit: Callable[[str], int] | int) -> list[str]:
    """A line for each thing that passes its limit."""
    allowed = limit if callable(limit) else lambda _: limit
    return [f"{what} has {size} {unit}" for what, size in sizes.items() if size > allowed(what)]


def test_no_object_has_more_attributes_than_one_keeps_in_mind() -> None:
    sizes = {
        f"{found.file}: {found.name}": len(attributes_of(found.node))
        for found in definitions()
        if isinstance(found.node, ast.ClassDef)
    }
    assert too_large("attributes", sizes, MAX_ATTRIBUTES) == []


def test_no_function_has_more_arguments_than_one_tells_apart() -> None:
    sizes = {
        f"{found.file}: {found.name}": arguments_of(found)
        for found in definitions()
        if not isinstance(found.node, ast.ClassDef)
    }

    def limit(name: str) -> int:
        return MAX_CONSTRUCTOR_ARGUMENTS if name.endswith(".__init__") else MAX_ARGUMENTS

    assert too_large("arguments", sizes, limit) == []


def test_no_function_is_longer_than_a_screen() -> None:
    sizes = {
        f"{found.file}: {found.name}": lines_of(found.node)
        for found in definitions()
        if not isinstance(found.node, ast.ClassDef)
    }
    assert too_large("lines", sizes, MAX_FUNCTION_LINES) == []


def test_no_module_is_more_than_one_thing() -> None:
    sizes = {file: len(text.splitlines()) for file, text in sources().items()}
    assert too_large("lines", sizes, MAX_MODULE_LINES) == []


# ------------------------------------------------------------------------- that these do count

EXAMPLE = """
class Thing:
    __slots__ = ("a", "b")
    c: int

    def __init__(self, a, *, b=0):
        self.a = self.d = a
        self.e, (self.f, *self.g) = b
        other.h = self.i.j = 0

    @click.command("x")
    async def run(me, a, b, /, c, *, d, e=1):
        me.k += 1
        with open(a) as me.l:
            def inner(x, y): ...
"""


def example(name: str, file: str) -> Found:
    [node] = [node for found, node in within(ast.parse(EXAMPLE)) if found == name]
    return Found(file, name, node)


def test_attributes_are_counted_however_they_are_set() -> None:
    node = example("Thing", "").node
    assert isinstance(node, ast.ClassDef)
    assert attributes_of(node) == set("abcdefgkl")


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("Thing.__init__", "udpft/net/x.py", 2),
        ("Thing.__init__", "udpft/api.py", 1),
        ("Thing.run", "udpft/net/x.py", 6),
        ("Thing.run", "udpft/cli/commands/x.py", 0),
        ("Thing.__init__", "udpft/cli/commands/x.py", 1),
        ("Thing.run.inner", "tests/x.py", 2),
    ],
)
def test_options_of_the_public_api_and_of_commands_are_not_arguments(
    name: str, file: str, expected: int
) -> None:
    assert arguments_of(example(name, file)) == expected


def test_lines_are_counted_without_decorators() -> None:
    assert lines_of(example("Thing.run", "").node) == 4
    assert lines_of(example("Thing", "").node) == EXAMPLE.count("\n") - 1
