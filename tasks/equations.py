"""Linear equations in one unknown, with brackets to multiply out and rational solutions.

    Solve for x: 3(x - 2) + 4 = 5x + 1.
    Multiply out the left side: 3x - 6 + 4.
    Collect the left side: 3x - 2 = 5x + 1.
    Move the x terms to the left and the numbers to the right: -2x = 3.
    Divide by -2: x = -3/2, so the answer is \\boxed{-3/2}.

Level 1 is ax + b = c. Level n has n - 1 brackets on the left, and an x on the right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

from stepgym.records import Task


@dataclass(frozen=True, slots=True)
class Linear:
    """``slope * x + constant``."""

    slope: int
    constant: int

    def __str__(self) -> str:
        return _sum(_times_x(self.slope), str(self.constant) if self.constant else "")


def equations(rng: random.Random, level: int, /) -> Task:
    """An equation with `level` - 1 brackets and exactly one solution."""
    brackets = [(_number(rng), Linear(1, _number(rng))) for _ in range(level - 1)]
    loose = Linear(_number(rng) if level == 1 else 0, _number(rng))
    left = Linear(
        loose.slope + sum(factor for factor, _ in brackets),
        loose.constant + sum(factor * inner.constant for factor, inner in brackets),
    )
    right = Linear(0 if level == 1 else _number(rng, but_not=left.slope), rng.randint(-20, 20))
    written = _sum(*(f"{_coefficient(factor)}({inner})" for factor, inner in brackets), str(loose))
    moved = Linear(left.slope - right.slope, 0)
    value = right.constant - left.constant
    solution = str(Fraction(value, moved.slope))
    working = []
    if brackets:
        terms = [str(Linear(factor, factor * inner.constant)) for factor, inner in brackets]
        working.append(("Multiply out the left side", _sum(*terms, str(loose))))
        working.append(("Collect the left side", f"{left} = {right}"))
    working.append(("Move the x terms to the left and the numbers to the right", f"{moved} = {value}"))
    how = f"Divide by {moved.slope}" if moved.slope != 1 else "Nothing is left to divide by"
    last = f"{how}: x = {solution}, so the answer is \\boxed{{{solution}}}."
    return Task(
        id="",
        prompt=f"Solve for x: {written} = {right}.",
        answer=solution,
        steps=(*(f"{what}: {result}." for what, result in working), last),
        hint="Bring the equation to the form (number) x = (number) first; then a single division is left.",
        subquestions=_questions(bool(brackets)),
        meta={"level": level},
    )


def _questions(brackets: bool) -> tuple[str, ...]:
    opened = (
        "What is the left side with its brackets multiplied out?",
        "What is the left side once like terms are collected?",
    )
    return (
        *(opened if brackets else ()),
        "What does the equation become with all x terms on the left and all numbers on the right?",
        "What is x after dividing by the number in front of it?",
    )


def _number(rng: random.Random, *, but_not: int = 0) -> int:
    return rng.choice([n for n in range(-9, 10) if n not in (0, but_not)])


def _coefficient(number: int) -> str:
    return {1: "", -1: "-"}.get(number, str(number))


def _times_x(slope: int) -> str:
    return f"{_coefficient(slope)}x" if slope else ""


def _sum(*terms: str) -> str:
    """Terms joined by their signs; a leading minus of a term becomes the operator. The empty sum is 0."""
    text = ""
    for term in filter(None, terms):
        if not text:
            text = term
        else:
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
    return text or "0"
