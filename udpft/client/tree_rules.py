"""Rules of what a tree leaves out, as rsync's simple patterns: the first that matches decides.

A pattern without a slash is of a name at any depth; one with a slash in it, of the end of a path;
one that begins with a slash, of the whole path. A slash at its end makes it one of folders only.
``*`` and ``?`` match no slash, ``**`` does; ``folder/***`` is of a folder and all that is below it.
What is below a folder that is left out is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from udpft.errors import UsageError

Action = Literal["include", "exclude"]

_WITH_ALL_BELOW = "/***"

_ACTIONS: dict[str, Action] = {"+": "include", "-": "exclude"}


class Rule(NamedTuple):
    """Rule of what matches a pattern: ``action`` says whether it comes or is left out."""

    action: Action
    pattern: str


class Rules:
    """Rules, in order, applied to one tree whose entries come in a listing's order.

    Args:
        rules: in order.

    Attributes:
        count: number of entries that were left out so far.
        _pruned: path of the last folder that was left out, with a slash; None before the first.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = rules
        self._pruned: str | None = None
        self.count = 0

    def __bool__(self) -> bool:
        return bool(self._rules)

    def leave_out(self, place: Sequence[str], *, is_folder: bool) -> bool:
        """Decide about the next entry, by the components of its path below the tree's top."""
        if not self._rules or not place:
            return False
        path = "/".join(place)
        if self._pruned is not None and path.startswith(self._pruned):
            return True
        for action, pattern in self._rules:
            if _matches(pattern, path, is_folder=is_folder):
                if action == "include":
                    return False
                if is_folder:
                    self._pruned = f"{path}/"
                self.count += 1
                return True
        return False


def parse_rule(text: str) -> Rule:
    """Read a rule: ``+ PATTERN`` includes, ``- PATTERN`` excludes. Raises UsageError."""
    sign, _, pattern = text.partition(" ")
    if sign not in _ACTIONS or not pattern.strip("/"):
        raise UsageError(
            f"{text!r} is no rule of what is left out", hint="'- PATTERN', or '+ PATTERN'"
        )
    return Rule(_ACTIONS[sign], pattern)


def _matches(pattern: str, path: str, *, is_folder: bool) -> bool:
    """Whether an entry is one of a pattern's."""
    only_folders, expression = _compiled(pattern)
    if only_folders and not is_folder:
        return False
    slash = "/" if is_folder and pattern.endswith(_WITH_ALL_BELOW) else ""
    return bool(expression.search(f"/{path}{slash}"))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[bool, re.Pattern[str]]:
    """Translate a pattern: whether it is of folders only, and what a path is searched for."""
    only_folders = pattern.endswith("/")
    body = pattern.rstrip("/")
    anchored = body.startswith("/")
    return only_folders, re.compile(
        ("^/" if anchored else "/") + _expression(body.lstrip("/")) + r"\Z", re.DOTALL
    )


def _expression(pattern: str) -> str:
    parts = []
    at = 0
    if pattern.endswith(_WITH_ALL_BELOW):
        pattern = pattern[:-1]  # of a folder itself, the path is searched with a slash at its end
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if sign == "*" and pattern[at : at + 1] == "*":
            at += 1
            parts.append(".*")
        elif sign == "*":
            parts.append("[^/]*")
        elif sign == "?":
            parts.append("[^/]")
        elif sign == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at:end].replace("\\", r"\\").replace("[", r"\[")
            parts.append("[^" + inside[1:] + "]" if inside[0] in "!^" else f"[{inside}]")
            at = end + 1
        else:
            parts.append(re.escape(sign))
    return "".join(parts)
