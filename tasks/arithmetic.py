"""Multi-step arithmetic: the value of a nested expression of whole numbers, one operation a step.

    Compute (7 - 2) * (3 + 4).
    7 - 2 = 5, which leaves 5 * (3 + 4).
    3 + 4 = 7, which leaves 5 * 7.
    5 * 7 = 35, so the answer is \\boxed{35}.

Level n has n + 1 operations. Divisions come out even, and no product exceeds a thousand, so difficulty is the number of
steps and not the size of the numbers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from stepgym.records import Task

LARGEST_PRODUCT = 1_000
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True, slots=True)
class Operation:
    """``left symbol right``, with its value."""

    symbol: str
    left: Expression
    right: Expression
    value: int


Expression = int | Operation


def arithmetic(rng: random.Random, level: int, /) -> Task:
    """An expression of `level` + 1 operations."""
    whole = _operation(rng, level + 1)
    expression: Expression = whole
    steps = []
    while isinstance(expression, Operation):
        done = _next(expression)
        expression = _reduced(expression, done)
        rest = (
            f"so the answer is \\boxed{{{expression}}}"
            if isinstance(expression, int)
            else f"which leaves {_text(expression)}"
        )
        steps.append(f"{_text(done)} = {done.value}, {rest}.")
    return Task(
        id="",
        prompt=f"Compute {_text(whole)}.",
        answer=str(whole.value),
        steps=tuple(steps),
        hint=f"Work from the inside out, one operation at a time; {_text(_next(whole))} can be done first.",
        subquestions=_questions(whole),
        meta={"level": level},
    )


def _expression(rng: random.Random, operations: int) -> Expression:
    return _operation(rng, operations) if operations else rng.randint(1, 20)


def _operation(rng: random.Random, operations: int) -> Operation:
    left_part = rng.randrange(operations)
    left, right = _expression(rng, left_part), _expression(rng, operations - 1 - left_part)
    a, b = _value(left), _value(right)
    results = {"+": a + b, "-": a - b}
    if abs(a * b) <= LARGEST_PRODUCT:
        results["*"] = a * b
    if abs(b) > 1 and a % b == 0:
        results["/"] = a // b
    symbol = rng.choice(list(results))
    return Operation(symbol, left, right, results[symbol])


def _value(expression: Expression) -> int:
    return expression if isinstance(expression, int) else expression.value


def _next(expression: Operation) -> Operation:
    """The leftmost operation whose two sides are numbers."""
    for side in (expression.left, expression.right):
        if isinstance(side, Operation):
            return _next(side)
    return expression


def _reduced(expression: Expression, done: Operation) -> Expression:
    """`expression` with the operation `done` (this very one, not its like elsewhere) replaced by its value."""
    if expression is done:
        return done.value
    if isinstance(expression, int):
        return expression
    left, right = _reduced(expression.left, done), _reduced(expression.right, done)
    return Operation(expression.symbol, left, right, expression.value)


def _text(expression: Expression) -> str:
    if isinstance(expression, int):
        return str(expression)
    left, right = (_side(expression, side) for side in (expression.left, expression.right))
    return f"{left} {expression.symbol} {right}"


def _side(parent: Operation, side: Expression) -> str:
    """One side of an operation, in brackets if it is a negative number or an operation that binds no tighter."""
    if isinstance(side, int):
        return f"({side})" if side < 0 else str(side)
    tighter = PRECEDENCE[side.symbol] > PRECEDENCE[parent.symbol]
    chain = side is parent.left and PRECEDENCE[side.symbol] == PRECEDENCE[parent.symbol]
    return _text(side) if tighter or chain else f"({_text(side)})"


def _questions(whole: Operation) -> tuple[str, ...]:
    """One question an operation, in the order of the steps. Results have names: no question tells an earlier answer."""
    questions: list[str] = []

    def ask(expression: Expression) -> str:
        if isinstance(expression, int):
            return f"({expression})" if expression < 0 else str(expression)
        left, right = ask(expression.left), ask(expression.right)
        name = f"r{len(questions) + 1}"
        questions.append(f"What is {name} = {left} {expression.symbol} {right}?")
        return name

    ask(whole)
    return tuple(questions)
