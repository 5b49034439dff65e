"""The gate on real gold answers: each equals itself, and with one digit changed equals it no more."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from stepgym.rewards import MathVerifier
from stepgym.rewards.maths.grammar import read_answer
from stepgym.rewards.maths.nodes import Text
from stepgym.rewards.maths.text import clean
from stepgym.tasks import load

BENCHMARKS = ["math500", "olympiadbench", "minerva_math"]


def golds(name: str) -> list[str]:
    return [task.answer for task in load(name)]


def changed(gold: str, seed: int) -> str | None:
    places = [match.start() for match in re.finditer("[0-9]", gold)]
    if not places:
        return None
    choice = random.Random(f"{gold}/{seed}")
    place = choice.choice(places)
    digit = choice.choice([digit for digit in "0123456789" if digit != gold[place]])
    return gold[:place] + digit + gold[place + 1 :]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_gold_equals_itself(data_dir: Path, name: str) -> None:
    verifier = MathVerifier()
    for task in load(name):
        verifier.check_task(task)
        assert verifier.equal(task.answer, task.answer).value == 1.0
        assert verifier.equal(task.answer, rf" $\displaystyle {task.answer}$ ").value == 1.0


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_gold_equals_itself_with_a_digit_changed(data_dir: Path, name: str) -> None:
    verifier = MathVerifier()
    accepted = []
    for gold in golds(name):
        for seed in range(2):
            other = changed(gold, seed)
            if other is not None and verifier.equal(gold, other).value == 1.0:
                accepted.append((gold, other))
    assert accepted == []


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_gold_equals_itself_with_a_sign_changed(data_dir: Path, name: str) -> None:
    """A sum made a difference is another answer, unless the sign does not matter to it (± and the like)."""
    verifier = MathVerifier()
    accepted = []
    for gold in golds(name):
        for match in re.finditer(r"(?<=[0-9a-z}])\s*([+])\s*(?=[0-9a-z\\])", gold):
            other = gold[: match.start(1)] + "-" + gold[match.end(1) :]
            if verifier.equal(gold, other).value == 1.0:
                accepted.append((gold, other))
    assert accepted == []


@pytest.mark.parametrize("name", BENCHMARKS)
def test_golds_are_read_as_mathematics(data_dir: Path, name: str) -> None:
    """All but words: fewer than one in a hundred."""
    texts = [gold for gold in golds(name) if isinstance(read_answer(clean(gold)), Text)]
    assert len(texts) <= len(golds(name)) / 50, texts
