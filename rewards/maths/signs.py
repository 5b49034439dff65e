r"""``\pm`` spelled out: an expression with it stands for its two values, a tuple for every choice of its elements."""

from __future__ import annotations

from itertools import product

from stepgym.rewards.maths.nodes import (
    MINUS_ONE,
    ONE,
    Answer,
    Expr,
    Quantity,
    Relation,
    Sequence,
    children,
    is_scalar,
    rebuild,
)
from stepgym.rewards.maths.reader import SIGN, scalar

MAX_CHOICES = 64
"""Values one answer may stand for."""


def spread(node: Answer) -> Answer:
    """`node` with each ± replaced by a list of both cases. Signs within one scalar go together."""
    if isinstance(node, Sequence) and not node.opening.startswith(("(", "[", "langle")):
        if not any(_signed(item) for item in node.items):
            return node
        items = [case for item in node.items for case in cases(item)]
        return Sequence(tuple(items), node.opening, node.closing)
    if not _signed(node):
        return node
    return Sequence(cases(node))


def cases(node: Answer) -> tuple[Answer, ...]:
    """All that `node` stands for; itself if it has no ±."""
    if not _signed(node):
        return (node,)
    if is_scalar(node):
        return tuple(_with(scalar(node), sign) for sign in (ONE, MINUS_ONE))
    if isinstance(node, Quantity):
        return tuple(Quantity(_with(node.value, sign), node.unit) for sign in (ONE, MINUS_ONE))
    if isinstance(node, Relation):
        return tuple(Relation((*node.sides[:-1], case), node.operators) for case in cases(node.sides[-1]))
    assert isinstance(node, Sequence)
    choices = [cases(item) for item in node.items]
    if 2 ** sum(len(choice) > 1 for choice in choices) > MAX_CHOICES:
        return (node,)
    return tuple(Sequence(tuple(choice), node.opening, node.closing) for choice in product(*choices))


def _signed(node: Answer) -> bool:
    match node:
        case Sequence(items):
            return any(map(_signed, items))
        case Relation(sides):
            return _signed(sides[-1])
        case Quantity(value):
            return _signed(value)
    return is_scalar(node) and (node == SIGN or any(map(_signed, children(scalar(node)))))


def _with(expr: Expr, sign: Expr) -> Expr:
    if expr == SIGN:
        return sign
    parts = children(expr)
    return rebuild(expr, tuple(_with(part, sign) for part in parts)) if parts else expr
