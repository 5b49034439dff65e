"""Plain numbers, read exactly: integers, decimals, scientific notation, fractions, mixed numbers, percent.

Four of five gold answers of the usual benchmarks are one of these, and on them the comparison of two `Fraction` decides
both ways, exactly and in microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import gcd

MAX_DIGITS = 1000
"""Digits of one number; longer runs are unreadable."""
MAX_EXPONENT = 5000
"""Largest power of ten in scientific notation."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}", re.ASCII)
_DIGITS = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+"
_DECIMAL = rf"(?:(?:{_DIGITS})(?:\.[0-9]*)?|\.[0-9]+)"
_POWER = r"[+-]?[0-9]{1,5}"
_TIMES_TEN = (
    r"\s*(?:[eE]|(?:\*|x|\\times|\\cdot)\s*10\s*(?:\^|\*\*))"
    rf"\s*(?P<power>{_POWER}|\{{\s*{_POWER}\s*\}}|\(\s*{_POWER}\s*\))"
)
_SIGN = r"(?P<sign>[+-]?)\s*"
_ARGUMENT = r"\s*(?:\{\s*([+-]?[0-9]+)\s*\}|([0-9]))"
_PERCENT = r"\s*(?P<percent>%|percent(?:age)?|pct|\\text\s*\{\s*(?:%|percent(?:age)?|pct)\s*\})?"
_PLAIN = re.compile(rf"{_SIGN}(?P<decimal>{_DECIMAL})(?:{_TIMES_TEN})?{_PERCENT}", re.ASCII)
_RATIO = re.compile(rf"{_SIGN}(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+){_PERCENT}", re.ASCII)
_FRACTION = re.compile(rf"{_SIGN}(?P<whole>[0-9]*)\s*\\frac{_ARGUMENT}{_ARGUMENT}{_PERCENT}", re.ASCII)
_MIXED = re.compile(rf"{_SIGN}(?P<whole>[0-9]+)\s+(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+){_PERCENT}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    value: Fraction
    """Exact value; of ``50%`` it is 50."""
    place: int | None = None
    """Of a decimal: the power of ten of its last digit (-2 for 3.14). None for integers and fractions."""
    percent: bool = False
    lowest: bool = True
    """False for a fraction that can be reduced."""


def read_number(cleaned: str) -> Number | None:
    """The number that `cleaned` (see `stepgym.rewards.maths.text.clean`) is, or None if it is anything else."""
    if _INTEGER.fullmatch(cleaned):
        return Number(Fraction(int(cleaned)))
    if not cleaned or len(cleaned) > MAX_DIGITS or not (cleaned[0] in "+-.\\" or cleaned[0].isdigit()):
        return None
    if match := _PLAIN.fullmatch(cleaned):
        return _plain(match)
    if match := _RATIO.fullmatch(cleaned):
        return _fraction(match, 0, int(match["top"]), int(match["bottom"]))
    if match := _FRACTION.fullmatch(cleaned):
        top, bottom = match[3] or match[4], match[5] or match[6]
        return _fraction(match, int(match["whole"] or 0), int(top), int(bottom))
    if match := _MIXED.fullmatch(cleaned):
        return _fraction(match, int(match["whole"]), int(match["top"]), int(match["bottom"]))
    return None


def decimal(digits: str, power: int = 0) -> Number:
    """The number written as `digits` (digits with at most one point) times ten to the `power`."""
    whole, point, rest = digits.partition(".")
    place = power - len(rest)
    value = Fraction(int(whole + rest or "0")) * Fraction(10) ** place
    return Number(value, place if point or power < 0 else None)


def _plain(match: re.Match[str]) -> Number | None:
    power = int((match["power"] or "0").strip("{}() "))
    if abs(power) > MAX_EXPONENT:
        return None
    number = decimal(match["decimal"].replace(",", ""), power)
    return Number(_signed(match, number.value), number.place, bool(match["percent"]))


def _fraction(match: re.Match[str], whole: int, top: int, bottom: int) -> Number | None:
    if bottom == 0 or (whole and (top < 0 or bottom < 0)):
        return None
    value = _signed(match, whole + Fraction(top, bottom))
    return Number(value, None, bool(match["percent"]), lowest=gcd(top, bottom) == 1)


def _signed(match: re.Match[str], value: Fraction) -> Fraction:
    return -value if match["sign"] == "-" else value
