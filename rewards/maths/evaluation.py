"""Evaluation of a scalar at one point, in any precision, within bounds.

Real evaluation raises `OutsideDomainError` where a value would not be real; odd roots of negative numbers are real.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any
from zlib import crc32

from stepgym.rewards.maths.nodes import Add, Call, Expr, Mul, Num, Pow, Sym, symbols
from stepgym.rewards.maths.normal import normal

MAX_MAGNITUDE = 1 << 100
"""Largest binary exponent of an intermediate result."""
NEARLY_WHOLE = 40
"""Values within this many digits of a whole number are whole to ``floor`` and ``ceil``."""

MAX_WORK = 100_000
"""`Work` for one comparison of answers; some tenths of a second."""
_FUNCTION, _GAMMA = 8, 1000
"""Operations that a function takes at 60 digits, and one computed by the gamma function."""

Context = Any
"""An mpmath context."""


class OutsideDomainError(ArithmeticError):
    """The expression has no real value at this point."""


class UndecidableError(ArithmeticError):
    """The expression cannot be evaluated at any point."""


class TooLargeValueError(UndecidableError):
    """An intermediate result has too large a magnitude."""


class Work:
    """How much evaluation one comparison may still do, in operations on numbers of 60 digits.

    Work is counted instead of time, so that a verdict depends on neither the machine nor its load.
    """

    def __init__(self, left: float = MAX_WORK) -> None:
        self.left = left

    def spend(self, operations: float) -> None:
        """Take `operations` off. Raises `UndecidableError` if too few are left."""
        self.left -= operations
        if self.left < 0:
            raise UndecidableError("too much work")


class Evaluation:
    """Evaluates scalars at one point, with one precision."""

    def __init__(self, context: Context, point: Mapping[str, Fraction], work: Work, *, real: bool) -> None:
        self.context, self.point, self.work, self.real = context, point, work, real
        self.precision = context.dps / 60
        self.widest = 0
        """Largest binary exponent of an intermediate result, of either sign."""

    def of(self, expr: Expr) -> Any:
        """The value. Raises `OutsideDomainError`, `UndecidableError`, `ZeroDivisionError` or `ValueError`."""
        self.work.spend(self.precision)
        match expr:
            case Num(value, _):
                return self._number(value)
            case Sym(name):
                return self._symbol(name)
            case Add(terms):
                return self.context.fsum(self.of(term) for term in terms)
            case Mul(parts):
                product = self.context.mpf(1)
                for part in parts:
                    product = product * self.of(part)
                return self._checked(product)
            case Pow(base, exponent):
                return self._checked(self._power(base, exponent))
            case Call(name, args):
                return self._checked(self._call(name, args))

    def _number(self, value: Fraction) -> Any:
        return self._checked(self.context.mpf(value.numerator) / value.denominator)

    def _symbol(self, name: str) -> Any:
        if name in self.point:
            return self._number(self.point[name])
        if name in ("pi", "e"):
            return +getattr(self.context, name)
        if name == "i":
            return self.context.mpc(0, 1)
        raise UndecidableError(name)

    def _checked(self, value: Any) -> Any:
        if not self.context.isfinite(value):
            raise UndecidableError("not finite")
        size = abs(int(self.context.mag(value))) if value else 0
        if size > MAX_MAGNITUDE:
            raise TooLargeValueError
        self.widest = max(self.widest, size)
        if self.real and isinstance(value, self.context.mpc):
            raise OutsideDomainError
        return value

    def _power(self, base: Expr, exponent: Expr) -> Any:
        value, index = self.of(base), self.of(exponent)
        self.work.spend(_FUNCTION * self.precision**1.5)
        if value == 0 and (isinstance(index, self.context.mpc) or index <= 0):
            raise ZeroDivisionError
        size = abs(index) * max(1, abs(self.context.mag(value))) if value else 0
        if size > MAX_MAGNITUDE:
            raise TooLargeValueError
        if self.real and value < 0 and not self.context.isint(index):
            rational = normal(exponent).value
            if rational is None or rational.denominator % 2 == 0:
                raise OutsideDomainError
            return (-1 if rational.numerator % 2 else 1) * (-value) ** index
        return value**index

    def _call(self, name: str, args: tuple[Expr, ...]) -> Any:
        if name in ("sum", "prod"):
            return self._series(name, args)
        values = [self.of(arg) for arg in args]
        gamma = name in ("factorial", "binom") and not all(self.context.isint(v) for v in values)
        self.work.spend(_GAMMA * self.precision**2 if gamma else _FUNCTION * self.precision**1.5)
        if name in _FUNCTIONS:
            if any(v and self.context.mag(v) > 64 for v in values) and name not in _ANY_SIZE:
                raise TooLargeValueError
            return _FUNCTIONS[name](self, values)
        if not name.endswith("()"):
            raise UndecidableError(name)
        seen = ",".join(self.context.nstr(v, 15) for v in values)
        return self.context.mpf(crc32(f"{name}{seen}".encode()) % 99_991 + 1) / 30_011

    def _series(self, name: str, args: tuple[Expr, ...]) -> Any:
        body, variable, low, high = args
        start, stop = self.of(low), self.of(high)
        whole = self.context.isint(start) and self.context.isint(stop)
        if not isinstance(variable, Sym) or not whole or stop - start > 200 or _named_after(body, variable.name):
            raise UndecidableError(name)
        total = self.context.mpf(0 if name == "sum" else 1)
        for index in range(int(start), int(stop) + 1):
            inner = Evaluation(self.context, {**self.point, variable.name: Fraction(index)}, self.work, real=self.real)
            total = total + inner.of(body) if name == "sum" else total * inner.of(body)
            self.widest = max(self.widest, inner.widest)
        return total


def _named_after(body: Expr, variable: str) -> bool:
    """Whether the bound variable hides in a subscript, as in a sum over a_k."""
    return any("_" in name and variable in name.partition("_")[2] for name in symbols(body))


def _real_only(name: str, low: float, high: float) -> Callable[[Evaluation, list[Any]], Any]:
    def apply(at: Evaluation, values: list[Any]) -> Any:
        if at.real and not low <= values[0] <= high:
            raise OutsideDomainError
        return getattr(at.context, name)(values[0])

    return apply


def _plain(name: str) -> Callable[[Evaluation, list[Any]], Any]:
    return lambda at, values: getattr(at.context, name)(*values)


def _logarithm(at: Evaluation, values: list[Any]) -> Any:
    if any(v == 0 for v in values) or (at.real and any(v < 0 for v in values)):
        raise OutsideDomainError
    return at.context.log(*values)


def _whole(name: str) -> Callable[[Evaluation, list[Any]], Any]:
    def apply(at: Evaluation, values: list[Any]) -> Any:
        if not all(at.context.isint(v) for v in values):
            raise OutsideDomainError
        return at.context.mpf(getattr(math, name)(*(int(v) for v in values)))

    return apply


def _step(name: str) -> Callable[[Evaluation, list[Any]], Any]:
    def apply(at: Evaluation, values: list[Any]) -> Any:
        near = at.context.nint(values[0])
        if abs(values[0] - near) < at.context.mpf(10) ** -NEARLY_WHOLE:
            return near  # a value that is whole up to rounding must not fall to the other side
        return getattr(at.context, name)(values[0])

    return apply


def _determinant(at: Evaluation, values: list[Any]) -> Any:
    size = int(len(values) ** 0.5)
    if size * size != len(values) or size > 8:
        raise UndecidableError("determinant")
    return at.context.det(at.context.matrix([values[row * size : (row + 1) * size] for row in range(size)]))


def _factorial(at: Evaluation, values: list[Any]) -> Any:
    if abs(values[0]) > 10**15:
        raise TooLargeValueError
    return at.context.factorial(values[0])


_ANY_SIZE = frozenset({"abs", "log", "lg", "max", "min", "sign", "factorial", "binom", "percent", "deg", "exp"})
_INFINITE = float("inf")
_FUNCTIONS: dict[str, Callable[[Evaluation, list[Any]], Any]] = {
    **{
        name: _plain(name)
        for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "exp", "sign")
    },
    **{name: _plain(name) for name in ("re", "im", "arg")},
    "arcsin": _real_only("asin", -1, 1),
    "arccos": _real_only("acos", -1, 1),
    "arctan": _plain("atan"),
    "arccot": _plain("acot"),
    "arsinh": _plain("asinh"),
    "arcosh": _real_only("acosh", 1, _INFINITE),
    "artanh": _real_only("atanh", -1, 1),
    "log": _logarithm,
    "lg": lambda at, values: _logarithm(at, [values[0], at.context.mpf(10)]),
    "abs": lambda _at, values: abs(values[0]),
    "max": lambda _at, values: max(values),
    "min": lambda _at, values: min(values),
    "floor": _step("floor"),
    "ceil": _step("ceil"),
    "gcd": _whole("gcd"),
    "lcm": _whole("lcm"),
    "mod": lambda at, values: at.context.fmod(*values) if values[1] else _zero_division(),
    "factorial": _factorial,
    "binom": lambda at, values: at.context.binomial(*values),
    "percent": lambda _at, values: values[0] / 100,
    "deg": lambda at, values: values[0] * at.context.pi / 180,
    "determinant": _determinant,
    "base": lambda at, values: at.context.mpf(int(str(int(values[0])), int(values[1]))),
}


def _zero_division() -> Any:
    raise ZeroDivisionError
