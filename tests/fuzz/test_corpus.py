"""Replay of the fuzzing corpus, and of a few hundred new inputs of each kind."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.__main__ import corpus_of, mutated
from tests.fuzz.seeds import inputs
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_breaks_no_promise(target: str) -> None:
    corpus = corpus_of(target)
    assert set(inputs()[target]) <= set(corpus), "python -m tests.fuzz.seeds writes what is missing"
    for data in corpus:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_of_it_break_none_either(target: str) -> None:
    random, corpus = Random(target), corpus_of(target)
    for _ in range(300):
        TARGETS[target](mutated(corpus, random))
