"""Modular chains: a number sent through several operations, each taken modulo a prime.

    Let x = 7. Working modulo 13, replace x by 5x, then by x + 9, then by x^2. What is x at the end?
    5 * 7 = 35, and 35 mod 13 = 9.
    9 + 9 = 18, and 18 mod 13 = 5.
    5^2 = 25, and 25 mod 13 = 12, so the answer is \\boxed{12}.

Level n has n + 1 operations.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from stepgym.records import Task

PRIMES = (7, 11, 13, 17, 19, 23, 29, 31, 37)


@dataclass(frozen=True, slots=True)
class Operation:
    """One link of the chain."""

    rule: str
    """How the problem says it: ``5x``."""
    factor: int = 1
    term: int = 0
    power: int = 1

    def working(self, x: int) -> str:
        """How a solution writes it: ``5 * 7``."""
        if self.power > 1:
            return f"{x}^{self.power}"
        return f"{self.factor} * {x}" if self.factor > 1 else f"{x} + {self.term}"

    def value(self, x: int) -> int:
        """The result, not yet reduced."""
        return int(self.factor * x**self.power + self.term)


def modular(rng: random.Random, level: int, /) -> Task:
    """A chain of `level` + 1 operations."""
    prime = rng.choice(PRIMES)
    start = x = rng.randrange(2, prime)
    operations = [_operation(rng, prime) for _ in range(level + 1)]
    steps = []
    for operation in operations:
        value = operation.value(x)
        steps.append(f"{operation.working(x)} = {value}, and {value} mod {prime} = {value % prime}")
        x = value % prime
    rules = ", then by ".join(operation.rule for operation in operations)
    return Task(
        id="",
        prompt=f"Let x = {start}. Working modulo {prime}, replace x by {rules}. What is x at the end?",
        answer=str(x),
        steps=(*(f"{step}." for step in steps[:-1]), f"{steps[-1]}, so the answer is \\boxed{{{x}}}."),
        hint=f"Take the remainder modulo {prime} after every operation; no number then passes {prime - 1} for long.",
        subquestions=tuple(
            f"What is x after operation {number}, replacing it by {operation.rule}?"
            for number, operation in enumerate(operations, start=1)
        ),
        meta={"level": level},
    )


def _operation(rng: random.Random, prime: int) -> Operation:
    number = rng.randrange(2, prime)
    return rng.choice(
        (
            Operation(f"{number}x", factor=number),
            Operation(f"x + {number}", term=number),
            Operation("x^2", power=2),
        )
    )
