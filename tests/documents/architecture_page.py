"""The generated parts of docs/architecture.md: `make docs` writes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.protocol.machines import MACHINES

PAGE = Path(__file__).parents[2] / "docs/architecture.md"
PACKAGE = PAGE.parents[1] / "udpft"

_PART = "<!-- {name}: made by `make docs` -->\n{text}<!-- end -->\n"


def map_of_modules() -> str:
    """The table of all modules: each with the first line of its docstring, room by room.

    In a room, a module stands above those that it imports.
    """
    lines = ["| module | what it is |", "|---|---|"]
    for folder in [PACKAGE, *sorted(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        for path in _downward(sorted(folder.glob("*.py"))):
            if doc := ast.get_docstring(ast.parse(path.read_text())):
                what = doc.splitlines()[0].removesuffix(".")
                lines.append(f"| `{path.relative_to(PACKAGE)}` | {what} |")
    return "".join(f"{line}\n" for line in lines)


def _downward(paths: list[Path]) -> Iterator[Path]:
    """Modules of one folder, each before those that it imports."""
    left = {path: _imported(path) for path in paths}
    while left:
        above = [path for path in left if not any(_dotted(path) in own for own in left.values())]
        assert above, f"modules that import each other in a circle: {list(left)}"
        for path in above:
            del left[path]
            yield path


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _imported(path: Path) -> set[str]:
    """What a module imports of our own, without itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found - {_dotted(path)}


def tables_of_states() -> str:
    """The transition table of each class that executes one."""
    text = ""
    for name, table in MACHINES.items():
        begins = " or ".join(f"`{state.name}`" for state in table.initial)
        text += f"\n**{name}** begins in {begins}.\n\n"
        text += "| state | event | next state | meaning |\n|---|---|---|---|\n"
        for row in table.rows:
            meaning = row.meaning.replace("``", "`")
            cells = f"`{row.state.name}`", f"`{row.event.name}`", f"`{row.target.name}`", meaning
            text += f"| {' | '.join(cells)} |\n"
    return f"{text}\n"


PARTS = {"the map": map_of_modules, "the states": tables_of_states}
"""What is generated, by the name that stands in the page above it."""


def page() -> str:
    """The page as it should be."""
    text = PAGE.read_text()
    for name, make in PARTS.items():
        begin, end = _PART.format(name=name, text="\0").split("\0")
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        assert pattern.search(text), f"the page has no part called {name}"
        made = _PART.format(name=name, text=make())
        text = pattern.sub(lambda _, made=made: made, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
