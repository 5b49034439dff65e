"""Arithmetic on matrices of scalars: sums, products, multiples."""

from __future__ import annotations

from stepgym.rewards.maths.lexer import UnreadableError
from stepgym.rewards.maths.nodes import Add, Answer, Expr, Matrix, Mul, is_scalar

MAX_PRODUCTS = 1000
"""Products of entries in one product of matrices."""


def total(matrices: list[Answer]) -> Matrix:
    """The sum. Raises `UnreadableError` for different shapes, or where a term is no matrix."""
    entries = [_entries(matrix) for matrix in matrices]
    if len({(len(rows), len(rows[0])) for rows in entries}) != 1:
        raise UnreadableError("a sum of matrices of different shapes")
    shape = range(len(entries[0])), range(len(entries[0][0]))
    return Matrix(tuple(tuple(Add(tuple(rows[i][j] for rows in entries)) for j in shape[1]) for i in shape[0]))


def multiple(factor: Expr, matrix: Answer) -> Matrix:
    """Every entry times `factor`."""
    return Matrix(tuple(tuple(Mul((factor, entry)) for entry in row) for row in _entries(matrix)))


def product(left: Answer, right: Answer) -> Matrix:
    """The matrix product. Raises `UnreadableError` if the shapes do not fit."""
    a, b = _entries(left), _entries(right)
    if len(a[0]) != len(b) or len(a) * len(b) * len(b[0]) > MAX_PRODUCTS:
        raise UnreadableError("a product of matrices that do not fit")
    columns = list(zip(*b, strict=True))
    return Matrix(tuple(tuple(_dot(row, column) for column in columns) for row in a))


def _dot(row: tuple[Expr, ...], column: tuple[Expr, ...]) -> Expr:
    return Add(tuple(Mul((x, y)) for x, y in zip(row, column, strict=True)))


def _entries(node: Answer) -> list[tuple[Expr, ...]]:
    if not isinstance(node, Matrix) or not node.rows:
        raise UnreadableError("arithmetic of a matrix and something else")
    rows = []
    for row in node.rows:
        rows.append(tuple(entry for entry in row if is_scalar(entry)))
        if len(rows[-1]) != len(row):
            raise UnreadableError("a matrix of something else than scalars")
    return rows  # type: ignore[return-value]
