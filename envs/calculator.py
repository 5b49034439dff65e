"""A solver without a model: it can do sums, and nothing else.

With it ``stepgym/Decompose-v0`` works, and is tested, where no engine is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, islice
from string import digits

from stepgym.records import Task

MAX_LINES = 64
MAX_LINE = 1_000
"""Characters of a line that are read."""
MAX_BITS = 2_048
"""Bits of the largest numerator or denominator."""
MAX_DEPTH = 32
"""Brackets, signs and powers within each other."""

LINE = re.compile(r"^[0-9]+\. (.*)$", re.MULTILINE)
TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[A-Za-z]\w*|\S")
BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
NEGATION = 3
"""A minus sign binds tighter than a product and looser than a power."""


class CalculatorSolver:
    """Works through the numbered lines of a prompt, evaluates the arithmetic in them, and answers with the last value.

    ``What is r1 = 7 - 2?`` has the value 5 and names it, so that a later line may say ``r1 * 3``. The values are exact.
    The problem itself it never reads: with sub-questions that lead to the answer it finds it, without them it does not.
    All its tries are alike.
    """

    def __call__(self, task: Task, tries: int, /) -> Sequence[str]:
        """`tries` copies of one solution; it has no final answer if no numbered line holds a calculation."""
        known: dict[str, Fraction] = {}
        lines = [found[1][:MAX_LINE] for found in islice(LINE.finditer(task.prompt), MAX_LINES)]
        done = [calculation for line in lines for calculation in _calculations(line, known)]
        answer = f"The answer is \\boxed{{{done[-1].value}}}." if done else "There is nothing to calculate."
        return ["\n".join([*(f"{each.written} = {each.value}" for each in done), answer])] * tries


@dataclass(frozen=True, slots=True)
class _Calculation:
    written: str
    value: Fraction


def _calculations(line: str, known: dict[str, Fraction]) -> Iterator[_Calculation]:
    """What a line calculates, in order; values that it names are added to `known`."""
    tokens = TOKEN.findall(line)
    named = {token for token, following in zip(tokens, [*tokens[1:], ""], strict=True) if following == "="}

    def belongs(token: str) -> bool:
        return token in "+-*/^()=" or token[0] in digits or token in named or token in known

    for is_run, run in groupby(tokens, belongs):
        if is_run and (calculation := _calculation(list(run), known)):
            yield calculation


def _calculation(run: list[str], known: dict[str, Fraction]) -> _Calculation | None:
    """``name = sum``, or a sum of at least two numbers; None if the run is neither."""
    sides = [list(side) for is_equals, side in groupby(run, lambda token: token == "=") if not is_equals]
    names = sides.pop(0) if len(sides) > 1 and len(sides[0]) == 1 and sides[0][0].isidentifier() else []
    if not sides or not (names or BINDING.keys() & set(sides[0][1:])):
        return None
    reader = _Reader(sides[0], known)
    try:
        value = reader.value()
    except ArithmeticError:
        return None
    if reader.token:
        return None
    known.update(dict.fromkeys(names, value))
    return _Calculation(" ".join([*names, *("=" for _ in names), *sides[0]]), value)


class _Reader:
    """Evaluates tokens by precedence climbing. `ArithmeticError` means that they have no value, or none in bounds."""

    def __init__(self, tokens: Sequence[str], known: Mapping[str, Fraction]) -> None:
        self._tokens = [*tokens, ""]
        self._known = known
        self._position = 0

    @property
    def token(self) -> str:
        """The first one not read yet; "" at the end."""
        return self._tokens[self._position]

    def value(self, binding: int = 0, depth: int = 0) -> Fraction:
        """The value from here on, up to an operator that binds no tighter than `binding`."""
        if depth > MAX_DEPTH:
            raise ArithmeticError("too deep")
        left = self._operand(depth)
        while BINDING.get(self.token, 0) > binding:
            symbol = self._next()
            right = self.value(BINDING[symbol] - (symbol == "^"), depth + 1)  # powers are read from the right
            left = _bounded(_applied(symbol, left, right))
        return left

    def _operand(self, depth: int) -> Fraction:
        token = self._next()
        if token == "-":
            return -self.value(NEGATION, depth + 1)
        if token == "(":
            inner = self.value(0, depth + 1)
            if self._next() != ")":
                raise ArithmeticError("a bracket is not closed")
            return inner
        if token in self._known:
            return self._known[token]
        if token[:1] not in set(digits):
            raise ArithmeticError("not a number")
        return _bounded(Fraction(token))

    def _next(self) -> str:
        token = self.token
        self._position += bool(token)
        return token


def _applied(symbol: str, left: Fraction, right: Fraction) -> Fraction:
    if symbol == "^":
        if right.denominator != 1 or abs(right) * max(_bits(left), 1) > MAX_BITS:
            raise ArithmeticError("not a power of moderate size")
        return Fraction(left ** int(right))
    if symbol == "/":
        return left / right
    return left + right if symbol == "+" else left - right if symbol == "-" else left * right


def _bits(number: Fraction) -> int:
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def _bounded(number: Fraction) -> Fraction:
    if _bits(number) > MAX_BITS:
        raise ArithmeticError("too large")
    return number
