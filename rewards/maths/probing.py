"""High-precision evaluation of two scalars at the same points.

Equal expressions agree at every point of their common domain; expressions of the size of an answer that agree to forty
digits at several pseudo-random points are equal (the argument of Schwartz and Zippel). Comparison is *relative*, so
1/2004! and 1/2006! differ, and it is repeated at higher precision before two values count as different, so cancellation
to zero is recognised, or as the same, so a small term is not lost. Points are the same in every run.

Evaluation is real first: a root of a negative number or its logarithm puts the point outside the domain; only if too
few points are left are the principal complex values compared.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Any
from zlib import crc32

from mpmath import mp

from stepgym.rewards.maths.evaluation import (
    Context,
    Evaluation,
    OutsideDomainError,
    TooLargeValueError,
    UndecidableError,
)
from stepgym.rewards.maths.nodes import Expr, Sym, calls, children, symbols
from stepgym.rewards.maths.polynomial import TooLargeError

DIGITS = 60
AGREEMENT = 40
"""Digits of `DIGITS` that must agree."""
CONSTANT_DIGITS = 400
"""Digits, beyond those before the decimal point, to which constants are computed before they count as equal."""
MAX_WHOLE_BITS = 20_000
"""Constants of more binary digits before the point are never equal by probing."""
CANDIDATES = 12
ENOUGH = 5
"""Points of the candidates at which both sides must be defined."""
_WHOLE_NAMES = frozenset("ijklmnpqrstNMKPQ")
_WHOLE_CALLS = frozenset({"floor", "ceil", "factorial", "binom", "mod", "gcd", "lcm", "sum", "prod"})


class Agreement(Enum):
    """What probing found."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


def probe(left: Expr, right: Expr) -> Agreement:
    """Compare `left` and `right` at points. Bounded in time by the size of the expressions, some milliseconds."""
    names = sorted(symbols(left) | symbols(right))
    used = calls(left) | calls(right)
    complex_only = _mentions_i(left) or _mentions_i(right)
    points = _points(names, whole=bool(used & _WHOLE_CALLS))
    try:
        if not complex_only:
            found = _compare_at(points, left, right, real=True)
            if found is not Agreement.UNKNOWN:
                return found
        return _compare_at(points, left, right, real=False)
    except (UndecidableError, TooLargeError, OverflowError, MemoryError, RecursionError):
        return Agreement.UNKNOWN


def too_large(expr: Expr) -> bool:
    """Whether a constant has, or is computed through, a value beyond `MAX_MAGNITUDE`."""
    try:
        Evaluation(_context(DIGITS), {}, real=False).of(expr)
    except (TooLargeValueError, OverflowError):
        return True
    except (ArithmeticError, ValueError, MemoryError, RecursionError, TypeError):
        return False
    return False


@lru_cache(maxsize=8192)
def value_of(expr: Expr) -> Fraction | None:
    """The real value of a constant to `DIGITS` digits, or None."""
    if symbols(expr):
        return None
    try:
        value = Evaluation(_context(DIGITS), {}, real=True).of(expr)
        sign, mantissa, exponent, _ = value._mpf_
        if abs(exponent) > 20_000:
            return None
        magnitude: Fraction = Fraction(int(mantissa)) * Fraction(2) ** exponent
        return -magnitude if sign else magnitude
    except (ArithmeticError, ValueError, MemoryError, RecursionError, AttributeError, TypeError):
        return None


def _compare_at(points: list[Mapping[str, Fraction]], left: Expr, right: Expr, *, real: bool) -> Agreement:
    agreed = 0
    for point in points:
        try:
            if not _agree(left, right, point, real=real):
                return Agreement.DIFFERENT
        except (OutsideDomainError, ZeroDivisionError, ValueError):
            continue
        agreed += 1
        if agreed >= min(ENOUGH, len(points)):
            return Agreement.SAME
    return Agreement.UNKNOWN


def _agree(left: Expr, right: Expr, point: Mapping[str, Fraction], *, real: bool) -> bool:
    gap, scale = _gap(left, right, point, DIGITS, real=real)
    digits = _digits_to_confirm(gap, scale, constant=not point)
    finer, finer_scale = _gap(left, right, point, digits, real=real)
    if finer <= finer_scale * mp.mpf(10) ** (AGREEMENT - digits):
        return True
    vanishing = mp.mpf(10) ** -AGREEMENT
    return bool(gap > 0 and finer <= gap * vanishing and finer_scale <= scale * vanishing)


def _digits_to_confirm(gap: Any, scale: Any, *, constant: bool) -> int:
    """Twice the digits; for numbers that seem equal many more, and of whole numbers all: 9^(9^5) is not 9^(9^5) + 1."""
    if not constant or gap > scale * mp.mpf(10) ** -AGREEMENT:
        return 2 * DIGITS
    magnitude = max(0, int(mp.mag(scale))) if scale else 0
    if magnitude > MAX_WHOLE_BITS:
        raise TooLargeValueError
    return CONSTANT_DIGITS + magnitude * 3 // 10


def _gap(left: Expr, right: Expr, point: Mapping[str, Fraction], digits: int, *, real: bool) -> tuple[Any, Any]:
    context = _context(digits)
    evaluation = Evaluation(context, point, real=real)
    a, b = evaluation.of(left), evaluation.of(right)
    return abs(a - b), max(abs(a), abs(b))


class _Local(threading.local):
    """mpmath contexts of one thread: its functions change the precision of their context while they run."""

    def __init__(self) -> None:
        self.contexts: dict[int, Context] = {}


_LOCAL = _Local()


def _context(digits: int) -> Context:
    """A context of our own with that precision: the shared one belongs to the caller."""
    made = _LOCAL.contexts.get(digits)
    if made is None:
        made = _LOCAL.contexts[digits] = mp.clone()
        made.dps = digits
    return made


def _points(names: list[str], *, whole: bool) -> list[Mapping[str, Fraction]]:
    if not names:
        return [{}]
    points: list[Mapping[str, Fraction]] = []
    for number in range(CANDIDATES):
        point = {}
        for name in names:
            random = Random(crc32(f"{name}/{number}".encode()))
            if whole and name[0] in _WHOLE_NAMES:
                point[name] = Fraction(random.randint(2, 9 + 3 * number))
            else:
                sign = -1 if number % 2 and (number == 1 or random.random() < 0.5) else 1
                point[name] = sign * Fraction(random.randint(211, 997 + 1500 * (number % 4)), 503)
        points.append(point)
    return points


def _mentions_i(expr: Expr) -> bool:
    return expr == Sym("i") or any(map(_mentions_i, children(expr)))
