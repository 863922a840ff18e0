"""Rules of what a tree leaves out, as rsync has them."""

from __future__ import annotations

import pytest

from udpft.client.tree_rules import Rules, parse_rule
from udpft.errors import UsageError

PATHS = ["a/", "a/b/", "a/b/x.tmp", "a/x.txt", "tmp/", "tmp/y.txt", "x.tmp", "z.txt"]


def kept(*rules: str) -> list[str]:
    """Paths of a tree that rules let through; those of folders end with a slash."""
    chosen = Rules([parse_rule(rule) for rule in rules])
    return [
        path
        for path in PATHS
        if not chosen.leave_out(path.rstrip("/").split("/"), is_folder=path.endswith("/"))
    ]


@pytest.mark.parametrize(
    ("rules", "left_out"),
    [
        ((), []),
        (("- *.tmp",), ["a/b/x.tmp", "x.tmp"]),
        (("- /x.tmp",), ["x.tmp"]),
        (("- b/x.tmp",), ["a/b/x.tmp"]),
        (("- tmp/",), ["tmp/", "tmp/y.txt"]),
        (("- x.tmp/",), []),
        (("- a",), ["a/", "a/b/", "a/b/x.tmp", "a/x.txt"]),
        (("- a/*",), ["a/b/", "a/b/x.tmp", "a/x.txt"]),
        (("- a/**.tmp",), ["a/b/x.tmp"]),
        (("- /a/?.txt",), ["a/x.txt"]),
        (("- a/***",), ["a/", "a/b/", "a/b/x.tmp", "a/x.txt"]),
        (("+ /a/***", "- *"), ["tmp/", "tmp/y.txt", "x.tmp", "z.txt"]),
        (("- z.txt/***",), []),
        (("- [xz].t[!m]t",), ["a/x.txt", "z.txt"]),
        (("+ x.txt", "- *.txt"), ["tmp/y.txt", "z.txt"]),
        (("- *.txt", "+ x.txt"), ["a/x.txt", "tmp/y.txt", "z.txt"]),
        (("+ */", "+ *.txt", "- *"), ["a/b/x.tmp", "x.tmp"]),
        (("+ *.txt", "- *"), ["a/", "a/b/", "a/b/x.tmp", "a/x.txt", "tmp/", "tmp/y.txt", "x.tmp"]),
    ],
)
def test_the_first_rule_that_matches_decides(rules: tuple[str, ...], left_out: list[str]) -> None:
    assert kept(*rules) == [path for path in PATHS if path not in left_out]


@pytest.mark.parametrize("text", ["*.tmp", "-", "- ", "x *.tmp", "- /", ""])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no rule"):
        parse_rule(text)
