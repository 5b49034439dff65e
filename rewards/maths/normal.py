"""The exact normal form of a scalar: a quotient of two polynomials over atoms.

Two scalars with ``a.top * b.bottom == b.top * a.bottom`` are equal, formally and hence wherever both are defined. The
reverse does not hold (atoms may depend on each other: sin and cos, nested roots), so different normal forms decide
nothing unless both are rational numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb, factorial, floor, gcd, lcm

from stepgym.rewards.maths.nodes import Add, Call, Expr, Mul, Num, Pow, Sym
from stepgym.rewards.maths.polynomial import (
    UNIT,
    Monomial,
    Polynomial,
    TooLargeError,
    add,
    as_constant,
    atom_power,
    constant,
    factors,
    multiply,
    power,
    rational_power,
    single,
)

MAX_FACTORIAL = 3000
"""Largest argument of an exact factorial."""


@dataclass(frozen=True, slots=True)
class Normal:
    """``top / bottom``."""

    top: Polynomial
    bottom: Polynomial

    @property
    def value(self) -> Fraction | None:
        """The rational number this is, if it is one."""
        top, bottom = as_constant(self.top), as_constant(self.bottom)
        if bottom is None or top is None:
            return None
        return top / bottom

    def key(self) -> tuple[frozenset[tuple[Monomial, Fraction]], frozenset[tuple[Monomial, Fraction]]]:
        """Hashable form; the bottom of a quotient by a monomial is always 1."""
        return frozenset(self.top.items()), frozenset(self.bottom.items())


ONE = constant(Fraction(1))


@lru_cache(maxsize=8192)
def normal(expr: Expr) -> Normal:
    """The normal form. Raises `TooLargeError` beyond the bounds and `ZeroDivisionError` where it is undefined."""
    match expr:
        case Num(value, _):
            return Normal(constant(value), ONE)
        case Sym("i"):
            return Normal(atom_power(-1, Fraction(1, 2)), ONE)
        case Sym(name):
            return Normal(single(name), ONE)
        case Add(terms):
            total = normal(terms[0])
            for term in terms[1:]:
                total = plus(total, normal(term))
            return total
        case Mul(parts):
            total = normal(parts[0])
            for part in parts[1:]:
                total = times(total, normal(part))
            return total
        case Pow(base, exponent):
            return _power(normal(base), normal(exponent))
        case Call(name, args):
            return _call(name, tuple(normal(arg) for arg in args))


def equal_forms(left: Normal, right: Normal) -> bool:
    """Whether the normal forms agree: a proof of equality."""
    if left.bottom == right.bottom:
        return left.top == right.top
    return multiply(left.top, right.bottom) == multiply(right.top, left.bottom)


def plus(left: Normal, right: Normal, scale: int = 1) -> Normal:
    """``left + scale * right``."""
    if left.bottom == right.bottom:
        return Normal(add(left.top, right.top, scale), left.bottom)
    top = add(multiply(left.top, right.bottom), multiply(right.top, left.bottom), scale)
    return Normal(top, multiply(left.bottom, right.bottom))


def times(left: Normal, right: Normal) -> Normal:
    """The product."""
    return Normal(multiply(left.top, right.top), multiply(left.bottom, right.bottom))


def inverse(form: Normal) -> Normal:
    """The reciprocal; a single term moves into the top."""
    if not form.top:
        raise ZeroDivisionError
    if len(form.top) == 1:
        ((monomial, coefficient),) = form.top.items()
        flipped = constant(1 / coefficient)
        for atom, exponent in monomial:
            flipped = multiply(flipped, atom_power(atom, -exponent))
        return Normal(multiply(flipped, form.bottom), ONE)
    return Normal(form.bottom, form.top)


def _power(base: Normal, exponent: Normal) -> Normal:
    value = exponent.value
    if value is not None and value.denominator == 1:
        if abs(value) > 10**6:
            raise TooLargeError("a high power")
        whole = abs(int(value))
        raised = Normal(power(base.top, whole), power(base.bottom, whole))
        return inverse(raised) if value < 0 else raised
    number = base.value
    if number == 0 and (value is None or value <= 0):
        raise ZeroDivisionError
    if number == 0:
        return Normal({}, ONE)
    if value is not None:
        return Normal(rational_power(number, value), ONE) if number is not None else _root(base, value)
    if exponent.bottom != ONE:
        return Normal(single(("pow", base.key(), exponent.key())), ONE)
    return _exponential(base, exponent.top)


def _root(base: Normal, exponent: Fraction) -> Normal:
    """A rational power of something that is no number: positive numeric factors come out, the rest is one atom."""
    if base.bottom == ONE and len(base.top) == 1:
        ((monomial, coefficient),) = base.top.items()
        ((atom, inner),) = monomial if len(monomial) == 1 else ((None, Fraction(0)),)
        if inner == 1 and coefficient > 0:
            return Normal(multiply(rational_power(coefficient, exponent), atom_power(atom, exponent)), ONE)
    if base.bottom == ONE:
        content = _content(base.top)
        rest = {monomial: coefficient / content for monomial, coefficient in base.top.items()}
        return Normal(
            multiply(rational_power(content, exponent), single(("root", frozenset(rest.items())), exponent)), ONE
        )
    return Normal(single(("root", base.key()), exponent), ONE)


def _content(poly: Polynomial) -> Fraction:
    top = gcd(*(coefficient.numerator for coefficient in poly.values()))
    return Fraction(top, lcm(*(coefficient.denominator for coefficient in poly.values())))


def _exponential(base: Normal, exponent: Polynomial) -> Normal:
    """``base ** (c1 m1 + c2 m2 + …)`` as the product of ``(base ** m) ** c``; natural bases by their prime factors."""
    result = Normal(ONE, ONE)
    number = base.value
    for monomial, coefficient in exponent.items():
        if monomial == UNIT:
            result = times(result, _power(base, Normal(constant(coefficient), ONE)))
        elif number is None:
            result = times(result, Normal(single(("pow", base.key(), monomial), coefficient), ONE))
        else:
            for prime, count in _signed_factors(number):
                result = times(result, Normal(single(("pow", prime, monomial), coefficient * count), ONE))
    return result


def _signed_factors(number: Fraction) -> list[tuple[int, int]]:
    if number.numerator.bit_length() > 512 or number.denominator.bit_length() > 512:
        raise TooLargeError("a power of a long number")
    sign = [(-1, 1)] if number < 0 else []
    return [*sign, *factors(abs(number.numerator)), *((prime, -count) for prime, count in factors(number.denominator))]


def _call(name: str, args: tuple[Normal, ...]) -> Normal:
    values = [arg.value for arg in args]
    if all(value is not None for value in values):
        exact = _exact(name, [value for value in values if value is not None])
        if exact is not None:
            return Normal(constant(exact), ONE)
    if name == "exp":
        return _power(Normal(single("e"), ONE), args[0])
    if name == "percent":
        return times(args[0], Normal(constant(Fraction(1, 100)), ONE))
    if name == "deg":
        return times(args[0], Normal({frozenset((("pi", Fraction(1)),)): Fraction(1, 180)}, ONE))
    return Normal(single((name, *(arg.key() for arg in args))), ONE)


def _exact(name: str, values: list[Fraction]) -> Fraction | None:
    """Functions of rational numbers that have rational values."""
    first = values[0]
    whole = all(value.denominator == 1 for value in values)
    if name == "base" and whole:
        digits = [int(digit) for digit in str(first.numerator)]
        base = int(values[1])
        if base < 2 or max(digits) >= base or len(digits) > 200:
            return None
        return Fraction(sum(digit * base**place for place, digit in enumerate(reversed(digits))))
    if name == "factorial" and whole and 0 <= first <= MAX_FACTORIAL:
        return Fraction(factorial(int(first)))
    if name == "binom" and whole and 0 <= values[1] <= first <= MAX_FACTORIAL:
        return Fraction(comb(int(first), int(values[1])))
    if name in ("gcd", "lcm") and whole:
        return Fraction((gcd if name == "gcd" else lcm)(*(int(value) for value in values)))
    if name in ("max", "min"):
        return (max if name == "max" else min)(values)
    if name == "mod" and values[1]:
        return first % values[1]
    if name == "determinant" and len(values) == 4:
        return values[0] * values[3] - values[1] * values[2]
    simple = {"abs": abs(first), "floor": Fraction(floor(first)), "ceil": Fraction(-floor(-first))}
    return simple.get(name)
