"""What a unit does to a value: degrees, percentages, abbreviations, letters that are variables instead."""

from __future__ import annotations

from fractions import Fraction

from stepgym.rewards.maths.nodes import Answer, Expr, Mul, Num, Quantity, Sym, is_scalar, symbols
from stepgym.rewards.maths.reader import scalar
from stepgym.rewards.maths.vocabulary import UNIT_NAMES, UNIT_WORDS

_KNOWN = UNIT_WORDS | frozenset(UNIT_NAMES.values())


def letter_factor(quantity: Answer, other: Answer) -> Answer:
    """``3 m`` as the product of 3 and m, if the other side has a variable m."""
    if not isinstance(quantity, Quantity) or not is_scalar(other) or quantity.unit not in symbols(scalar(other)):
        return quantity
    return Mul((quantity.value, Sym(quantity.unit)))


def radians(quantity: Quantity) -> Expr:
    """The value of an angle, or of a bare number, in radians."""
    return Mul((quantity.value, Sym("pi"), Num(Fraction(1, 180)))) if quantity.unit == "deg" else quantity.value


def hundredth(quantity: Quantity) -> Expr:
    """The value of a percentage, or of a bare number."""
    value = quantity.value
    if quantity.unit != "%":
        return value
    if isinstance(value, Num):
        return Num(value.value / 100, None if value.place is None else value.place - 2)
    return Mul((value, Num(Fraction(1, 100))))


def differ(gold: str, answer: str) -> bool:
    """Units that are both known are different if their names are; of free words one may abbreviate the other."""
    bases = {unit.partition("^")[0].partition("/")[0] for unit in (gold, answer)}
    abbreviated = min(len(gold), len(answer)) >= 4 and (gold.startswith(answer) or answer.startswith(gold))
    return bases <= _KNOWN or not (abbreviated and (gold + answer).isalpha())
