"""Multivariate polynomials with rational coefficients over arbitrary atoms, with rational exponents.

A monomial maps atoms to exponents; a polynomial maps monomials to coefficients. Integer atoms (primes and -1) keep only
the fractional part of their exponent, the rest goes into the coefficient: √12 is 2·3^(1/2), and i is (-1)^(1/2). Equal
dictionaries are equal polynomials. All operations are bounded and raise `TooLargeError` beyond.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

MAX_TERMS = 400
"""Terms of one polynomial."""
MAX_BITS = 1 << 16
"""Size of one coefficient's numerator or denominator."""
MAX_PRIME = 2000
"""Trial division goes this far; what it leaves is taken as if it were prime."""

Atom: TypeAlias = Hashable
Monomial: TypeAlias = frozenset[tuple[Atom, Fraction]]
Polynomial: TypeAlias = Mapping[Monomial, Fraction]

UNIT: Monomial = frozenset()


class TooLargeError(ArithmeticError):
    """The normal form would exceed its bounds."""


def constant(value: Fraction) -> Polynomial:
    """The polynomial of that value."""
    return {UNIT: value} if value else {}


def single(atom: Atom, exponent: Fraction = Fraction(1)) -> Polynomial:
    """One atom to a power."""
    return {frozenset(((atom, exponent),)): Fraction(1)}


def as_constant(poly: Polynomial) -> Fraction | None:
    """The value of a polynomial without atoms, else None."""
    if not poly:
        return Fraction(0)
    return poly[UNIT] if len(poly) == 1 and UNIT in poly else None


def add(left: Polynomial, right: Polynomial, scale: int = 1) -> Polynomial:
    """``left + scale * right``."""
    total = dict(left)
    for monomial, coefficient in right.items():
        value = total.get(monomial, 0) + scale * coefficient
        if value:
            total[monomial] = checked(value)
        else:
            del total[monomial]
    if len(total) > MAX_TERMS:
        raise TooLargeError("too many terms")
    return total


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """The product."""
    if len(left) * len(right) > MAX_TERMS * 4:
        raise TooLargeError("too many terms")
    total: dict[Monomial, Fraction] = {}
    for monomial_a, a in left.items():
        for monomial_b, b in right.items():
            monomial, factor = _join(monomial_a, monomial_b)
            value = total.get(monomial, 0) + a * b * factor
            if value:
                total[monomial] = checked(Fraction(value))
            else:
                total.pop(monomial, None)
    return total


def power(base: Polynomial, exponent: int) -> Polynomial:
    """A natural power."""
    if len(base) > 1 and exponent > 64:
        raise TooLargeError("a high power of a sum")
    if len(base) == 1:
        ((monomial, coefficient),) = base.items()
        if size(coefficient) * exponent > MAX_BITS:
            raise TooLargeError("a high power of a number")
        made = constant(coefficient**exponent)
        for atom, exp in monomial:
            made = multiply(made, atom_power(atom, exp * exponent))
        return made
    result = constant(Fraction(1))
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        exponent >>= 1
        base = multiply(base, base) if exponent else base
    return result


def atom_power(atom: Atom, exponent: Fraction) -> Polynomial:
    """An atom to any rational power, integer atoms reduced."""
    if not isinstance(atom, int):
        return single(atom, exponent) if exponent else constant(Fraction(1))
    whole = exponent.numerator // exponent.denominator
    if abs(whole) * max(atom.bit_length(), 1) > MAX_BITS:
        raise TooLargeError("a high power of a number")
    value, rest = Fraction(atom) ** whole, exponent - whole
    return {frozenset(((atom, rest),)) if rest else UNIT: value}


def _join(left: Monomial, right: Monomial) -> tuple[Monomial, Fraction]:
    if not left or not right:
        return left or right, Fraction(1)
    exponents = dict(left)
    factor = Fraction(1)
    for atom, exponent in right:
        total = exponents.pop(atom, 0) + exponent
        if isinstance(atom, int) and total >= 1:
            factor *= atom
            total -= 1
        if total:
            exponents[atom] = Fraction(total)
    return frozenset(exponents.items()), factor


def size(value: Fraction) -> int:
    """Bits of the longer of numerator and denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def checked(value: Fraction) -> Fraction:
    """`value`, or `TooLargeError` if it is beyond the bounds."""
    if size(value) > MAX_BITS:
        raise TooLargeError("a number of too many digits")
    return value


@lru_cache(maxsize=4096)
def factors(value: int) -> tuple[tuple[int, int], ...]:
    """Prime factors of a positive integer with multiplicities; a rest without small factors counts as prime."""
    found: list[tuple[int, int]] = []
    prime = 2
    while prime * prime <= value and prime <= MAX_PRIME:
        count = 0
        while value % prime == 0:
            value //= prime
            count += 1
        if count:
            found.append((prime, count))
        prime += 1 if prime == 2 else 2
    return (*found, (value, 1)) if value > 1 else tuple(found)


def rational_power(value: Fraction, exponent: Fraction) -> Polynomial:
    """A non-zero rational to a rational power. Odd roots of negative numbers are real."""
    made = constant(Fraction(1))
    if value < 0:
        odd = exponent.denominator % 2 == 1
        made = constant(Fraction(-1 if exponent.numerator % 2 else 1)) if odd else atom_power(-1, exponent)
    if exponent.denominator == 1:
        if size(value) * abs(exponent.numerator) > MAX_BITS:
            raise TooLargeError("a high power of a number")
        return multiply(made, constant(abs(value) ** exponent.numerator))
    if size(value) > 512:
        raise TooLargeError("a root of a long number")
    for part, sign in ((abs(value).numerator, 1), (abs(value).denominator, -1)):
        for prime, count in factors(part):
            made = multiply(made, atom_power(prime, exponent * count * sign))
    return made
