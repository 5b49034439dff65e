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
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
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
    Work,
)
from stepgym.rewards.maths.nodes import Expr, Sym, calls, mentions, symbols
from stepgym.rewards.maths.polynomial import TooLargeError

DIGITS = 60
AGREEMENT = 40
"""Digits of `DIGITS` that must agree."""
CONSTANT_DIGITS = 400
"""Digits, beyond those before the decimal point, to which constants are computed before they count as equal."""
MAX_BITS = 20_000
"""Binary exponent of a value on the way beyond which constants are not compared; a fifth of it with variables."""
CANDIDATES = 12
ENOUGH = 5
"""Points of the candidates at which both sides must be defined."""
_WHOLE_NAMES = frozenset("ijklmnNMK")
_WHOLE_NAMES_OF_COUNTS = _WHOLE_NAMES | frozenset("pqrstPQ")
"""Letters that are whole numbers as arguments of floor and ceil, and of functions of whole numbers only."""
_COUNTS = frozenset({"factorial", "binom", "mod", "gcd", "lcm", "sum", "prod"})


class TooWideError(ArithmeticError):
    """The values at this point are too large, or too small, to tell whether a term is lost."""


_FAILURES = (ArithmeticError, ValueError, TypeError, NotImplementedError, MemoryError, RecursionError)
"""All that evaluation raises."""
_UNDEFINED = (OutsideDomainError, TooWideError, ZeroDivisionError, ValueError, TypeError, NotImplementedError)
"""What evaluation raises at a point that decides nothing; the last two for complex values of real functions."""


class Agreement(Enum):
    """What probing found."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


def probe(left: Expr, right: Expr, work: Work) -> Agreement:
    """Compare `left` and `right` at points; UNKNOWN where `work` runs out."""
    names = sorted(symbols(left) | symbols(right))
    used = calls(left) | calls(right)
    complex_only = mentions(left, Sym("i")) or mentions(right, Sym("i"))
    whole = _WHOLE_NAMES_OF_COUNTS if used & _COUNTS else _WHOLE_NAMES if used & {"floor", "ceil"} else frozenset[str]()
    points = _points(names, whole)
    try:
        if not complex_only:
            found = _compare_at(points, left, right, work, real=True)
            if found is not Agreement.UNKNOWN:
                return found
        return _compare_at(points, left, right, work, real=False)
    except (UndecidableError, TooLargeError, OverflowError, MemoryError, RecursionError):
        return Agreement.UNKNOWN


def too_large(expr: Expr) -> bool:
    """Whether a constant has, or is computed through, a value beyond `MAX_MAGNITUDE`."""
    try:
        Evaluation(_context(DIGITS), {}, Work(), real=False).of(expr)
    except (TooLargeValueError, OverflowError):
        return True
    except _FAILURES:
        return False
    return False


def value_of(expr: Expr, work: Work) -> Fraction | None:
    """The real value of a constant to `DIGITS` digits, or None."""
    if symbols(expr):
        return None
    try:
        value = Evaluation(_context(DIGITS), {}, work, real=True).of(expr)
        sign, mantissa, exponent, _ = value._mpf_
        if abs(exponent) > 20_000:
            return None
        magnitude: Fraction = Fraction(int(mantissa)) * Fraction(2) ** exponent
        return -magnitude if sign else magnitude
    except (*_FAILURES, AttributeError):
        return None


def _compare_at(points: list[Mapping[str, Fraction]], left: Expr, right: Expr, work: Work, *, real: bool) -> Agreement:
    agreed = 0
    for point in points:
        try:
            if not _agree(left, right, point, work, real=real):
                return Agreement.DIFFERENT
        except _UNDEFINED:
            continue
        agreed += 1
        if agreed >= min(ENOUGH, len(points)):
            return Agreement.SAME
    return Agreement.UNKNOWN


def _agree(left: Expr, right: Expr, point: Mapping[str, Fraction], work: Work, *, real: bool) -> bool:
    rough = _gap(left, right, point, DIGITS, work, real=real)
    digits = _digits_to_confirm(rough, constant=not point)
    fine = _gap(left, right, point, digits, work, real=real)
    if fine.size <= fine.scale * mp.mpf(10) ** (AGREEMENT - digits):
        return True
    vanishing = mp.mpf(10) ** -AGREEMENT
    return bool(rough.size > 0 and fine.size <= rough.size * vanishing and fine.scale <= rough.scale * vanishing)


@dataclass(frozen=True, slots=True)
class _Gap:
    """How far two values are apart, the larger of them, and the largest binary exponent on the way to them."""

    size: Any
    scale: Any
    widest: int


def _gap(left: Expr, right: Expr, point: Mapping[str, Fraction], digits: int, work: Work, *, real: bool) -> _Gap:
    evaluation = Evaluation(_context(digits), point, work, real=real)
    a, b = evaluation.of(left), evaluation.of(right)
    return _Gap(abs(a - b), max(abs(a), abs(b)), evaluation.widest)


def _digits_to_confirm(gap: _Gap, *, constant: bool) -> int:
    """Twice the digits; for values that seem equal enough to see all terms: 9^(9^5) is not 9^(9^5) + 1."""
    if gap.size > gap.scale * mp.mpf(10) ** -AGREEMENT:
        return 2 * DIGITS
    if gap.widest > (MAX_BITS if constant else MAX_BITS // 5):
        raise TooWideError
    return (CONSTANT_DIGITS if constant else 2 * DIGITS) + 2 * gap.widest * 3 // 10


def relative_gap(exact: Expr, other: Expr, work: Work) -> float | None:
    """The largest gap of two scalars, relative to the larger, at points of positive coordinates; None if unknown."""
    points = _points(sorted(symbols(exact) | symbols(other)), frozenset())
    try:
        gaps = [_gap(exact, other, point, DIGITS, work, real=False) for point in points[::2]]
        return max(float(gap.size / gap.scale) if gap.scale else 0.0 for gap in gaps)
    except _FAILURES:
        return None


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


def _points(names: list[str], whole: frozenset[str]) -> list[Mapping[str, Fraction]]:
    if not names:
        return [{}]
    points: list[Mapping[str, Fraction]] = []
    for number in range(CANDIDATES):
        point = {}
        for name in names:
            random = Random(crc32(f"{name}/{number}".encode()))
            if name[0] in whole:
                point[name] = Fraction(random.randint(2, 9 + 3 * number))
            else:
                sign = -1 if number % 2 and (number == 1 or random.random() < 0.5) else 1
                point[name] = sign * Fraction(random.randint(211, 997 + 1500 * (number % 4)), 503)
        points.append(point)
    return points
