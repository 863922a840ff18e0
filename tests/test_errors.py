"""Tree of errors: its picture in the module, compared with its classes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from udpft import errors
from udpft.errors import ExitCode, UdpftError


def below(kind: type[UdpftError]) -> Iterator[type[UdpftError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from below(sub)


# A module may have a private one of its own, which nobody outside can tell from its parent.
KINDS = [kind for kind in below(UdpftError) if not kind.__name__.startswith("_")]


def test_the_picture_shows_every_class_below_its_parent() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, tuple[str, int | None]] = {}
    parents: list[str] = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"    ((?:[│├└── ]{4})*)(\w+Error|\w+) +(\d+)? ", line):
            depth = len(match[1]) // 4
            parents[depth:] = [match[2]]
            code = int(match[3]) if match[3] else None
            drawn[match[2]] = (parents[depth - 1] if depth else "", code)
    del drawn["UdpftError"]
    assert set(drawn) == {kind.__name__ for kind in KINDS}
    for kind in KINDS:
        parent, code = drawn[kind.__name__]
        assert parent == kind.__bases__[0].__name__
        assert code in (None, kind.exit_code)


def test_every_error_that_is_raised_has_an_exit_code_of_its_own_meaning() -> None:
    leaves = [kind for kind in KINDS if not kind.__subclasses__()]
    assert all(kind.exit_code not in (ExitCode.DONE, ExitCode.BUG) for kind in leaves)
    shared = [kind for kind in leaves if kind.exit_code == ExitCode.PARTIAL]
    assert shared == [errors.SourceChanged, errors.PartialTransfer]
    codes = {kind.exit_code for kind in leaves}
    assert len(codes) == len(leaves) - 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_carries_its_words_and_its_hint(kind: type[UdpftError]) -> None:
    assert kind.__doc__
    assert (str(kind("what")), kind("what").hint) == ("what", "")
    assert kind("what", hint="do that").hint == "do that"
