"""Equations: ``x = 5`` as a named value, ``f(x) = x^2`` as a function, ``2x + y = 3`` as the set of its solutions."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from fractions import Fraction

from stepgym.rewards.maths.nodes import (
    Answer,
    Call,
    Expr,
    Mul,
    Num,
    Pow,
    Quantity,
    Relation,
    Sequence,
    Sym,
    children,
    is_scalar,
    minus,
    rebuild,
    symbols,
)
from stepgym.rewards.maths.normal import normal
from stepgym.rewards.maths.polynomial import Polynomial, TooLargeError
from stepgym.rewards.maths.reader import scalar
from stepgym.rewards.maths.scalars import ScalarComparison
from stepgym.rewards.maths.vocabulary import FLIPPED

MAX_ROUNDING = 0.05
"""Relative error up to which one side of an approximation may stand for the other."""


@dataclass(frozen=True, slots=True)
class Values:
    """What two equations say the same name is."""

    gold: Answer
    answer: Answer


def is_equation(relation: Relation) -> bool:
    """Whether it relates by equality (or approximation) only."""
    return set(relation.operators) <= {"=", "~"}


def is_name(side: Answer) -> bool:
    """Whether a side of an equation only names the value: ``x``, ``f(x)``, ``AB``, ``|AB|``, ``S : T``, ``(x, y)``."""
    match side:
        case Sym(name):
            return name not in ("pi", "e", "i", "oo", "±", "dots")
        case Sequence(items):
            return bool(items) and all(isinstance(item, Sym) and is_name(item) for item in items)
        case Call(name, args):
            return name.endswith("()") or (name == "abs" and is_name(args[0]) and args[0] != Sym("x"))
        case Mul(parts):
            return all(_capital(part) for part in parts)
    return False


def _capital(part: Expr) -> bool:
    """A factor of a name of several letters: capitals, or the denominator of a ratio of them."""
    if isinstance(part, Pow):
        return part.exponent == Num(Fraction(-1)) and (
            _capital(part.base) or (isinstance(part.base, Mul) and is_name(part.base))
        )
    if isinstance(part, Mul):
        return is_name(part)
    return isinstance(part, Sym) and (part.name[0].isupper() or part.name.startswith(("angle", "triangle", "vec")))


def value(relation: Relation, comparison: ScalarComparison) -> Answer | None:
    """The value an equation gives a name, or to which a chain of equalities computes; None if it does neither.

    The sides that are no names must agree with each other: ``3 = 4`` is no way to answer 3 and 4 at once.
    """
    sides = list(relation.sides)
    while len(sides) > 1 and relation.operators[len(sides) - 2] == "~":
        if is_name(sides[-2]):
            break
        if _far_apart(sides[-2], sides.pop(), comparison):
            return None
    values = [side for number, side in enumerate(sides) if not (is_name(side) and number < len(sides) - 1)]
    last = values[-1]
    for side in values[:-1]:
        if not is_scalar(side) or not is_scalar(_bare(last)) or not comparison.equal(scalar(side), scalar(_bare(last))):
            return None
    return last


def _far_apart(exact: Answer, approximate: Answer, comparison: ScalarComparison) -> bool:
    """Whether two scalars are no approximations of each other: such a chain gives two answers."""
    from stepgym.rewards.maths.probing import relative_gap

    if not is_scalar(_bare(exact)) or not is_scalar(_bare(approximate)):
        return False
    gap = relative_gap(scalar(_bare(exact)), scalar(_bare(approximate)), comparison.work)
    return gap is not None and gap > min(MAX_ROUNDING, _last_digit(_bare(approximate)))


def _last_digit(approximate: Answer) -> float:
    """One unit of the last digit of a number, relative to the number; of what is no number 1."""
    if not isinstance(approximate, Num) or not approximate.value or approximate.value.denominator > 10**300:
        return 1.0
    place = approximate.place
    if place is None:
        digits = str(abs(approximate.value.numerator))
        place = len(digits) - len(digits.rstrip("0"))
    return float(Fraction(10) ** place / abs(approximate.value))


def _bare(side: Answer) -> Answer:
    return side.value if isinstance(side, Quantity) else side


def same_name(gold: Relation, answer: Relation) -> Values | None:
    """What two equations say of the same name: ``x = 1, x = 2``; ``f(t) = t, f(x) = x``; ``y = 2x, f(x) = 2x``."""
    if not (is_equation(gold) and is_equation(answer)) or not (is_name(gold.sides[0]) and is_name(answer.sides[0])):
        return None
    left, right = gold.sides[0], answer.sides[0]
    gold_value, answer_value = gold.sides[-1], answer.sides[-1]
    if isinstance(left, Call) and isinstance(right, Call) and len(left.args) == len(right.args):
        if not is_scalar(answer_value) or not all(isinstance(arg, Sym) for arg in (*left.args, *right.args)):
            return Values(gold_value, answer_value) if left == right else None
        if left.name != right.name:
            return None
        names = dict(zip(right.args, left.args, strict=True))
        kept = symbols(scalar(answer_value)) - {arg.name for arg in right.args if isinstance(arg, Sym)}
        if any(arg.name in kept for arg in left.args if isinstance(arg, Sym)):
            return None  # f(w) = 2x is a constant function, and its x is not the x of f(x)
        return Values(gold_value, _renamed(scalar(answer_value), names))
    if left == right or (Sym("y") in (left, right) and isinstance(left, Call) != isinstance(right, Call)):
        return Values(gold_value, answer_value)
    return None


def _renamed(expr: Expr, names: dict[Expr, Expr]) -> Expr:
    if expr in names:
        return names[expr]
    parts = children(expr)
    return rebuild(expr, tuple(_renamed(part, names) for part in parts)) if parts else expr


def distinct_names(items: Items[Answer]) -> bool:
    """Whether every item is an equation with a name of its own, as in ``a = 1, b = 2``."""
    names = [
        item.sides[0] for item in items if isinstance(item, Relation) and is_equation(item) and is_name(item.sides[0])
    ]
    return len(names) == len(items) and all(a != b for at, a in enumerate(names) for b in names[at + 1 :])


def same_equation(gold: Relation, answer: Relation, comparison: ScalarComparison) -> bool:
    """Whether two equations have the same sides, or proportional differences of sides (moved terms, factors)."""
    if len(gold.sides) != len(answer.sides) or not all(is_scalar(side) for side in (*gold.sides, *answer.sides)):
        return False
    left, right = [scalar(side) for side in gold.sides], [scalar(side) for side in answer.sides]
    if any(all(comparison.equal(a, b) for a, b in zip(left, order, strict=True)) for order in (right, right[::-1])):
        return True
    if len(left) != 2 or not symbols(minus(*left)) or not symbols(minus(*right)):
        return False
    return _ratio(minus(*left), minus(*right), cleared=True) is not None


def same_inequality(gold: Relation, answer: Relation) -> bool:
    """Whether two inequalities of two sides are the same up to moved terms and positive factors."""
    if (
        len(gold.sides) != 2
        or len(answer.sides) != 2
        or not all(is_scalar(side) for side in (*gold.sides, *answer.sides))
    ):
        return False
    left, right = (minus(scalar(r.sides[0]), scalar(r.sides[1])) for r in (gold, answer))
    ratio = _ratio(left, right, cleared=False)
    if ratio is None:
        return False
    operator = answer.operators[0]
    return gold.operators[0] == (operator if ratio > 0 else FLIPPED.get(operator, operator))


def _ratio(left: Expr, right: Expr, *, cleared: bool) -> Fraction | None:
    """The rational r with ``left = r * right``, if the normal forms show one; `cleared` of their denominators."""
    try:
        a, b = normal(left), normal(right)
    except (TooLargeError, ZeroDivisionError, OverflowError):
        return None
    return _proportion(a.top, b.top) if cleared or a.bottom == b.bottom else None


def _proportion(left: Polynomial, right: Polynomial) -> Fraction | None:
    if not left or left.keys() != right.keys():
        return None
    ratios = {left[monomial] / right[monomial] for monomial in left}
    return ratios.pop() if len(ratios) == 1 else None
