"""What is compared in the place of two things that ought to be equal, as Python's syntax trees."""

from __future__ import annotations

import ast
import random
import secrets


def nothing() -> ast.expr:
    """An object that is equal to no other."""
    return ast.parse("object()", mode="eval").body


def unequal(left: ast.expr, right: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Pairs in the place of two that ought to be equal. An expected literal does not stand in them as it is."""
    if is_literal(right):
        return [(left, nothing())] if _is_plain(right) else [(left, other(right)), (left, nothing())]
    if is_literal(left):
        return [(nothing(), right)] if _is_plain(left) else [(other(left), right), (nothing(), right)]
    return [(left, nothing()), (nothing(), right)]


def is_literal(node: ast.expr) -> bool:
    """Whether it says its value itself: a number, a text, and what is made of such."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(is_literal, node.elts))
    if isinstance(node, ast.Dict):
        return all(each is not None and is_literal(each) for each in [*node.keys, *node.values])
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant)


def _is_plain(node: ast.expr) -> bool:
    """None, True, False and the like have no other value of their kind that could not be a right answer at times."""
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool) or node.value is ...)


def other(node: ast.expr) -> ast.expr:
    """A literal of the same kind with another value, which no test can have expected."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        more: ast.expr = ast.Constant(secrets.token_hex(8))
        elements = [*map(other, node.elts), more]
        return ast.Set(elements) if isinstance(node, ast.Set) else type(node)(elements, ast.Load())
    if isinstance(node, ast.Dict):
        values = [other(each) for each in node.values]
        return ast.Dict([*node.keys, ast.Constant(secrets.token_hex(8))], [*values, ast.Constant(1)])
    if isinstance(node, ast.UnaryOp):
        return ast.UnaryOp(node.op, other(node.operand))
    assert isinstance(node, ast.Constant)
    value = node.value
    if isinstance(value, str):
        return ast.Constant(value + secrets.token_hex(4))
    if isinstance(value, bytes):
        return ast.Constant(value + secrets.token_hex(4).encode())
    if isinstance(value, int | float | complex) and not isinstance(value, bool):
        return ast.Constant(-2 * value - random.SystemRandom().randrange(10**6, 10**7))  # another for 1e300 too
    return nothing()
