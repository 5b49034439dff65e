"""Sets of real numbers as unions of intervals: ``(-4, 0]``, ``-4 < m <= 0``, ``|x| < 2``, ``x != 3``, ``{1} ∪ [2, 3]``.

Pieces keep the order they were written in; nothing is merged or simplified.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from stepgym.rewards.maths.nodes import (
    INFINITY,
    Answer,
    Call,
    Expr,
    Num,
    Relation,
    Sequence,
    Sym,
    Union,
    is_scalar,
    mentions,
    minus,
    negative,
    symbols,
)
from stepgym.rewards.maths.normal import normal
from stepgym.rewards.maths.polynomial import UNIT, TooLargeError
from stepgym.rewards.maths.reader import scalar
from stepgym.rewards.maths.vocabulary import FLIPPED

REALS = Sym("setR")
MINUS_INFINITY = negative(INFINITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One interval; at infinity an end is open."""

    low: Expr = MINUS_INFINITY
    low_closed: bool = False
    high: Expr = INFINITY
    high_closed: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """Intervals, and the variable that lies in them if it was named."""

    pieces: tuple[Piece, ...]
    variable: str = ""


def region(node: Answer) -> Region | None:
    """The set that `node` describes, or None if it describes none."""
    if isinstance(node, Union):
        parts = [region(part) for part in node.parts]
        pieces = tuple(piece for part in parts if part is not None for piece in part.pieces)
        names = {part.variable for part in parts if part is not None and part.variable}
        return Region(pieces, min(names, default="")) if None not in parts and len(names) <= 1 else None
    if node == REALS:
        return Region((Piece(),))
    if isinstance(node, Sequence):
        return _bracketed(node)
    return _inequality(node) if isinstance(node, Relation) else None


def without_points(base: Answer, removed: Answer) -> Union | None:
    r"""``base \setminus {p, …}`` as a union of intervals, for one interval (or all reals) and rational points in it."""
    whole = region(base)
    if whole is None or len(whole.pieces) != 1 or not isinstance(removed, Sequence) or removed.opening != r"\{":
        return None
    points = sorted(item.value for item in removed.items if isinstance(item, Num))
    if len(points) != len(removed.items) or not points:
        return None
    piece = whole.pieces[0]
    ends = [piece.low, *(Num(point) for point in points), piece.high]
    closed = [piece.low_closed, *(False for _ in points), piece.high_closed]
    parts = []
    for at in range(len(ends) - 1):
        brackets = "[" if closed[at] else "(", "]" if closed[at + 1] else ")"
        parts.append(Sequence((ends[at], ends[at + 1]), *brackets))
    return Union(tuple(parts))


def _bracketed(node: Sequence) -> Region | None:
    items = node.items
    if not all(is_scalar(item) for item in items):
        return None
    if node.opening == r"\{":
        return Region(tuple(_piece(scalar(item), True, scalar(item), True) for item in items))
    if node.opening in ("(", "[") and len(items) == 2:
        return Region((_piece(scalar(items[0]), node.opening == "[", scalar(items[1]), node.closing == "]"),))
    return None


def _piece(low: Expr, low_closed: bool, high: Expr, high_closed: bool) -> Piece:
    return Piece(
        low=low,
        low_closed=low_closed and not _infinite(low),
        high=high,
        high_closed=high_closed and not _infinite(high),
    )


def _infinite(expr: Expr) -> bool:
    return mentions(expr, INFINITY)


def _inequality(node: Relation) -> Region | None:
    if not all(is_scalar(side) for side in node.sides):
        return None
    sides, operators = tuple(scalar(side) for side in node.sides), node.operators
    if len(sides) == 3 and isinstance(sides[1], Sym | Call):
        return _between(sides, operators)
    if len(sides) != 2 or operators[0] not in ("<", ">", "<=", ">=", "!="):
        return None
    if isinstance(sides[0], Call) and sides[0].name == "abs" and isinstance(sides[0].args[0], Sym):
        return _distance(sides[0].args[0].name, operators[0], sides[1])
    solved = _solved(sides[0], operators[0], sides[1])
    if solved is None:
        return None
    variable, operator, bound = solved.variable, solved.operator, solved.bound
    closed = operator in ("<=", ">=")
    if operator == "!=":
        return Region((Piece(high=bound), Piece(low=bound)), variable)
    if operator in ("<", "<="):
        return Region((Piece(high=bound, high_closed=closed),), variable)
    return Region((Piece(low=bound, low_closed=closed),), variable)


def _distance(variable: str, operator: str, bound: Expr) -> Region | None:
    """``|x| < bound`` and ``|x| > bound``."""
    closed = operator in ("<=", ">=")
    if operator in ("<", "<="):
        return Region((_piece(negative(bound), closed, bound, closed),), variable)
    if operator == "!=":
        return None
    return Region((Piece(high=negative(bound), high_closed=closed), Piece(low=bound, low_closed=closed)), variable)


def _between(sides: tuple[Expr, ...], operators: tuple[str, ...]) -> Region | None:
    low, middle, high = sides
    first, second = operators
    if first in (">", ">=") and second in (">", ">="):
        low, high, first, second = high, low, FLIPPED[second], FLIPPED[first]
    if first not in ("<", "<=") or second not in ("<", "<="):
        return None
    piece = _piece(low, first == "<=", high, second == "<=")
    if isinstance(middle, Sym):
        return Region((piece,), middle.name)
    if isinstance(middle, Call) and middle.name == "abs" and isinstance(middle.args[0], Sym):
        mirrored = _piece(negative(high), second == "<=", negative(low), first == "<=")
        return Region((mirrored, piece), middle.args[0].name)
    return None


@dataclass(frozen=True, slots=True)
class _Solved:
    variable: str
    operator: str
    bound: Expr


def _solved(left: Expr, operator: str, right: Expr) -> _Solved | None:
    """``variable operator bound``: one side is a variable, or the only one, which occurs linearly."""
    if isinstance(left, Sym) and left.name != "oo" and left.name not in symbols(right):
        return _Solved(left.name, operator, right)
    if isinstance(right, Sym) and right.name != "oo" and right.name not in symbols(left):
        return _Solved(right.name, FLIPPED.get(operator, operator), left)
    names = symbols(minus(left, right))
    if len(names) != 1:
        return None
    (name,) = names
    try:
        form = normal(minus(left, right))
    except (TooLargeError, ZeroDivisionError, OverflowError):
        return None
    slope = form.top.get(frozenset(((name, Fraction(1)),)), Fraction(0))
    offset = form.top.get(UNIT, Fraction(0))
    if not slope or len(form.top) - (offset != 0) != 1 or form.bottom != {UNIT: 1}:
        return None
    return _Solved(name, FLIPPED.get(operator, operator) if slope < 0 else operator, Num(-offset / slope))
