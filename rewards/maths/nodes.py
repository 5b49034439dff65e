"""What an answer is made of: our own syntax tree, frozen plain data that crosses processes.

Scalars (`Expr`) are built from `Num`, `Sym`, `Add`, `Mul`, `Pow` and `Call`; the rest are shapes around scalars.
A quotient is a product with a power of -1, a difference a sum with a factor of -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Num:
    """An exact number. `place` is the power of ten of the last digit if it was written as a decimal."""

    value: Fraction
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable, a constant (``pi e i oo``), or a name, subscript included."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    """A sum."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Mul:
    """A product."""

    factors: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Pow:
    """A power; roots have rational exponents."""

    base: Expr
    exponent: Expr


@dataclass(frozen=True, slots=True)
class Call:
    """A function applied to arguments: a known one (``sin floor binom pm sum …``), or a name such as f."""

    name: str
    args: tuple[Expr, ...]


Expr: TypeAlias = Num | Sym | Add | Mul | Pow | Call


@dataclass(frozen=True, slots=True)
class Quantity:
    """A scalar with a unit; ``%`` and ``deg`` are units too."""

    value: Expr
    unit: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """Items in brackets: tuples, intervals, sets (``{}``), and lists without any (`opening` is empty)."""

    items: tuple[Answer, ...]
    opening: str = ""
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain of comparisons, such as ``1 < x <= 2``: one more side than operators (``= < > <= >= != ~ in :``)."""

    sides: tuple[Answer, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets of real numbers, or inequalities joined by "or"."""

    parts: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of scalars; a column vector has rows of one."""

    rows: tuple[tuple[Answer, ...], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Words, or anything that is no mathematics we can read: equal only to the same words."""

    words: str


Answer: TypeAlias = Expr | Quantity | Sequence | Relation | Union | Matrix | Text

ONE, MINUS_ONE, HALF = Num(Fraction(1)), Num(Fraction(-1)), Num(Fraction(1, 2))
INFINITY = Sym("oo")


def negative(expr: Expr) -> Expr:
    """``-expr``."""
    return Num(-expr.value, expr.place) if isinstance(expr, Num) else Mul((MINUS_ONE, expr))


def quotient(top: Expr, bottom: Expr) -> Expr:
    """``top / bottom``."""
    return Mul((top, Pow(bottom, MINUS_ONE)))


def fraction(top: Expr, bottom: Expr) -> Expr:
    """``top / bottom`` as it was written: of differentials one name, since the letters of dy/dx do not cancel."""
    if _differential(top) and _differential(bottom):
        return Call("derivative()", (top, bottom))
    return quotient(top, bottom)


def _differential(expr: Expr) -> bool:
    """Whether it is ``dx``, the d of ``d/dx``, or a power of either."""
    first = expr.factors[0] if isinstance(expr, Mul) else expr
    return (first.base if isinstance(first, Pow) else first) == Sym("d")


def minus(left: Expr, right: Expr) -> Expr:
    """``left - right``."""
    return Add((left, negative(right)))


def is_scalar(node: Answer) -> bool:
    """Whether `node` is an `Expr`."""
    return isinstance(node, Num | Sym | Add | Mul | Pow | Call)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of a scalar."""
    match expr:
        case Add(parts) | Mul(parts) | Call(_, parts):
            return parts
        case Pow(base, exponent):
            return (base, exponent)
    return ()


def rebuild(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """`expr` with other direct parts."""
    match expr:
        case Add():
            return Add(parts)
        case Mul():
            return Mul(parts)
        case Pow():
            return Pow(parts[0], parts[1])
        case Call(name, _):
            return Call(name, parts)
    return expr


def symbols(expr: Expr) -> frozenset[str]:
    """Names of the free symbols, the constants ``pi e i oo`` left out."""
    if isinstance(expr, Sym):
        return frozenset(() if expr.name in CONSTANTS else (expr.name,))
    if isinstance(expr, Call) and expr.name in ("sum", "prod"):
        body, variable, low, high = expr.args
        return (symbols(body) - symbols(variable)) | symbols(low) | symbols(high)
    return frozenset[str]().union(*(symbols(part) for part in children(expr)))


CONSTANTS = frozenset({"pi", "e", "i", "oo"})


def mentions(expr: Expr, part: Expr) -> bool:
    """Whether `part` occurs anywhere in `expr`."""
    return expr == part or any(mentions(inner, part) for inner in children(expr))


def calls(expr: Expr) -> frozenset[str]:
    """Names of all functions applied anywhere in `expr`."""
    inner = frozenset[str]().union(*(calls(part) for part in children(expr)))
    return inner | {expr.name} if isinstance(expr, Call) else inner
