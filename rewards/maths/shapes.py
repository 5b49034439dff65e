"""Are two answers equal? Shapes around scalars: lists, tuples, sets, intervals, equations, matrices, units.

Every rule compares like with like; nothing is ever searched for "the gold somewhere inside".
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from fractions import Fraction
from typing import TypeVar

from stepgym.rewards.maths import equations, quantities, regions
from stepgym.rewards.maths.nodes import (
    Answer,
    Call,
    Expr,
    Matrix,
    Num,
    Quantity,
    Relation,
    Sequence,
    Sym,
    Text,
    Union,
    mentions,
)
from stepgym.rewards.maths.policy import Percent, Policy
from stepgym.rewards.maths.reader import scalar
from stepgym.rewards.maths.scalars import ScalarComparison
from stepgym.rewards.maths.signs import spread

T = TypeVar("T")

MAX_ITEMS = 200
"""Items of one list."""


class AnswerComparison(ScalarComparison):
    """Compares whole answers under one policy."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)

    def same(self, gold: Answer, answer: Answer) -> bool:
        """Whether `answer` is `gold`. Raises `stepgym.sandboxes.OverBudgetError` where time is too short to tell."""
        if gold == answer:
            return not isinstance(gold, Text) or bool(gold.words)
        if isinstance(gold, Text) or isinstance(answer, Text):
            return False
        gold, answer = spread(gold), spread(answer)
        if isinstance(gold, Relation) or isinstance(answer, Relation):
            return self._relations(gold, answer)
        if isinstance(gold, Union) or isinstance(answer, Union) or regions.REALS in (gold, answer):
            return self._regions(gold, answer)
        if isinstance(gold, Matrix) or isinstance(answer, Matrix):
            return self._matrices(gold, answer)
        if isinstance(gold, Sequence) or isinstance(answer, Sequence):
            return self._sequences(gold, answer)
        if isinstance(gold, Quantity) != isinstance(answer, Quantity):
            gold, answer = quantities.letter_factor(gold, answer), quantities.letter_factor(answer, gold)
        if isinstance(gold, Quantity) or isinstance(answer, Quantity):
            return self._quantities(gold, answer)
        if isinstance(gold, Call) and gold.name == "base" and not isinstance(answer, Call):
            return gold.args[0] == answer  # the base may be left out; the value in base ten is another answer
        return self.equal(scalar(gold), scalar(answer)) or self._factor_of_100(scalar(gold), scalar(answer))

    # -- relations and regions

    def _relations(self, gold: Answer, answer: Answer) -> bool:
        if isinstance(gold, Relation) and isinstance(answer, Relation):
            if "mod" in (*gold.operators, *answer.operators):
                return gold.operators == answer.operators and self._all(gold.sides, answer.sides)
            named = equations.same_name(gold, answer)
            if named is not None:
                return self.same(named.gold, named.answer)
            if equations.is_equation(gold) and equations.is_equation(answer):
                return equations.same_equation(gold, answer, self)
            return self._regions(gold, answer) or equations.same_inequality(gold, answer)
        relation, other = (gold, answer) if isinstance(gold, Relation) else (answer, gold)
        assert isinstance(relation, Relation)
        if equations.is_equation(relation):
            value = equations.value(relation, self)
            if value is None:
                return False
            return self.same(value, other) if relation is gold else self.same(other, value)
        return self._regions(gold, answer)

    def _regions(self, gold: Answer, answer: Answer) -> bool:
        left, right = regions.region(gold), regions.region(answer)
        if left is None or right is None or (left.variable and right.variable and left.variable != right.variable):
            return self._unions(gold, answer)
        return len(left.pieces) == len(right.pieces) and self._matched(left.pieces, right.pieces, self._pieces)

    def _pieces(self, gold: regions.Piece, answer: regions.Piece) -> bool:
        if (gold.low_closed, gold.high_closed) != (answer.low_closed, answer.high_closed):
            return False
        return self._ends(gold.low, answer.low) and self._ends(gold.high, answer.high)

    def _ends(self, gold: Expr, answer: Expr) -> bool:
        return self.equal(gold, answer)

    def _unions(self, gold: Answer, answer: Answer) -> bool:
        if not (isinstance(gold, Union) and isinstance(answer, Union)):
            return False
        return len(gold.parts) == len(answer.parts) and self._matched(gold.parts, answer.parts, self.same)

    # -- matrices and sequences

    def _matrices(self, gold: Answer, answer: Answer) -> bool:
        left, right = _rows(gold), _rows(answer)
        if not (isinstance(gold, Matrix) and isinstance(answer, Matrix)) and (left and right):
            left, right = (_as_column(rows) for rows in (left, right))
        if left is None or right is None:
            return False
        if len(left) != len(right) or len(left[0]) != len(right[0]):
            return False
        return all(self._all(*rows) for rows in zip(left, right, strict=True))

    def _sequences(self, gold: Answer, answer: Answer) -> bool:
        left, right = (_by_coordinate(_items(side)) for side in (gold, answer))
        if max(len(left.items), len(right.items)) > MAX_ITEMS:
            return False
        if r"\{" in (left.opening, right.opening) and left.opening in ("", r"\{") and right.opening in ("", r"\{"):
            return self._sets(left.items, right.items)
        if not left.opening and not right.opening:
            if all(isinstance(item, Sequence) for item in (*left.items, *right.items)):
                return self._sets(left.items, right.items)  # tuples in a list are solutions: naming one twice adds none
            return self._lists(left.items, right.items)
        if not left.items or not _brackets_agree(left, right):
            return False
        return self._all(left.items, right.items)

    def _all(self, gold: Items[Answer], answer: Items[Answer]) -> bool:
        """Whether the items agree one by one."""
        return len(gold) == len(answer) and all(self.same(a, b) for a, b in zip(gold, answer, strict=True))

    def _sets(self, gold: Items[Answer], answer: Items[Answer]) -> bool:
        if len(gold) == len(answer) and self._matched(gold, answer, self.same):
            return True
        left, right = self._distinct(gold), self._distinct(answer)
        return len(left) == len(right) and self._matched(left, right, self.same)

    def _lists(self, gold: Items[Answer], answer: Items[Answer]) -> bool:
        if len(gold) != len(answer):
            return False
        dots = Sym("dots") in (*gold, *answer)
        if self.policy.ordered or dots or equations.distinct_names(gold) != equations.distinct_names(answer):
            return self._all(gold, answer)
        return self._matched(gold, answer, self.same)

    def _distinct(self, items: Items[Answer]) -> list[Answer]:
        kept: list[Answer] = []
        for item in items:
            if not any(self.same(item, other) for other in kept):
                kept.append(item)
        return kept

    def _matched(self, gold: Items[T], answer: Items[T], same: Callable[[T, T], bool]) -> bool:
        """Whether the items agree in some order; greedy, since equality is transitive."""
        left = list(answer)
        for item in gold:
            found = next((index for index, other in enumerate(left) if same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    # -- quantities

    def _quantities(self, gold: Answer, answer: Answer) -> bool:
        g = gold if isinstance(gold, Quantity) else Quantity(scalar(gold), "")
        a = answer if isinstance(answer, Quantity) else Quantity(scalar(answer), "")
        if g.unit == a.unit:
            return self.equal(g.value, a.value)
        if "%" in (g.unit, a.unit):
            return self._percent(g, a)
        if {g.unit, a.unit} == {"deg", ""} or {g.unit, a.unit} == {"deg", "rad"}:
            bare = a if g.unit == "deg" else g
            degrees = bare.unit == "" and self.policy.units and not mentions(bare.value, Sym("pi"))
            written = degrees and self.equal(g.value, a.value)
            return written or self.equal(quantities.radians(g), quantities.radians(a))
        if g.unit and a.unit and quantities.differ(g.unit, a.unit):
            return False
        return self.policy.units and self.equal(g.value, a.value)

    def _percent(self, gold: Quantity, answer: Quantity) -> bool:
        if gold.unit and answer.unit:
            return False
        bare = self.policy.percent is not Percent.STRICT and self.equal(gold.value, answer.value)
        return bare or self.equal(quantities.hundredth(gold), quantities.hundredth(answer))

    def _factor_of_100(self, gold: Expr, answer: Expr) -> bool:
        if self.policy.percent is not Percent.FACTOR or not isinstance(gold, Num) or not isinstance(answer, Num):
            return False
        return any(
            self.equal(Num(gold.value * factor, gold.place), answer) for factor in (Fraction(100), Fraction(1, 100))
        )


def _by_coordinate(items: Sequence) -> Sequence:
    """``y = 1, x = 2`` in the order of coordinates; other names stay as they were written."""
    sides = [item.sides[0] if isinstance(item, Relation) else None for item in items.items]
    if any(side not in (Sym("x"), Sym("y"), Sym("z")) for side in sides) or not equations.distinct_names(items.items):
        return items
    ordered = sorted(zip(map(repr, sides), range(len(sides)), items.items, strict=True))
    return Sequence(tuple(item for *_, item in ordered), items.opening, items.closing)


def _items(node: Answer) -> Sequence:
    return node if isinstance(node, Sequence) else Sequence((node,))


def _brackets_agree(left: Sequence, right: Sequence) -> bool:
    """Brackets of pairs count (they may be intervals), of longer tuples not; a bare list may stand for a tuple."""
    kinds = [(s.opening.replace("langle", "("), s.closing.replace("rangle", ")")) for s in (left, right)]
    if r"\{" in (left.opening, right.opening) or ":" in (left.opening, right.opening):
        return kinds[0] == kinds[1]
    if ("", "") in kinds:
        return ("(", ")") in kinds and len(left.items) > 1
    return kinds[0] == kinds[1] or len(left.items) > 2


def _as_column(rows: tuple[tuple[Answer, ...], ...]) -> tuple[tuple[Answer, ...], ...]:
    """A single row as a column: vectors written as tuples have no direction."""
    return tuple((entry,) for entry in rows[0]) if len(rows) == 1 else rows


def _rows(node: Answer) -> tuple[tuple[Answer, ...], ...] | None:
    if isinstance(node, Matrix):
        return node.rows
    if isinstance(node, Sequence) and node.opening in ("(", "[", "langle") and len(node.items) > 1:
        if all(isinstance(item, Sequence) for item in node.items):
            rows = tuple(item.items for item in node.items if isinstance(item, Sequence))
            return rows if len({len(row) for row in rows}) == 1 and rows[0] else None
        return tuple((item,) for item in node.items)
    return None
