"""Are two scalars equal? Three tiers: exact normal form, probing, and a symbolic engine in a killable worker.

The normal form proves equality (and decides rational numbers both ways); probing disproves it, and accepts what agrees
everywhere; what neither can evaluate within bounds goes to the worker, under a budget of CPU time.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction

from stepgym.rewards.maths.evaluation import Work
from stepgym.rewards.maths.nodes import INFINITY, Expr, Num, calls, mentions, symbols
from stepgym.rewards.maths.normal import equal_forms, normal
from stepgym.rewards.maths.policy import Policy, Tolerant
from stepgym.rewards.maths.polynomial import TooLargeError


class Tier(StrEnum):
    """Which rule decided, once the texts differ."""

    NUMBER = "exact number"
    FORM = "exact form"
    ROUNDED = "tolerance"
    PROBING = "numeric probing"
    SYMBOLIC = "symbolic"


_SMALL = Fraction(1, 10**20)
"""Constants above this, relative to each other that far apart, are different without a second look."""
MAX_SYMBOLIC_CALLS = 4
"""Pairs of scalars of one answer that go to the symbolic tier; each may use half the CPU time of the one before."""
_SERIES = frozenset({"sum", "prod"})


class ScalarComparison:
    """Compares scalars under one policy, and remembers in `tier` the last rule it needed."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tier = Tier.FORM
        self.work = Work()
        self._values: dict[Expr, Fraction | None] = {}
        self._symbolic_calls = 0

    def equal(self, gold: Expr, answer: Expr) -> bool:
        """Whether they are the same. Raises `stepgym.sandboxes.OverBudgetError` where no tier could decide in time."""
        if gold == answer:
            return True
        try:
            left, right = normal(gold), normal(answer)
            if equal_forms(left, right):
                return True
            if left.value is not None and right.value is not None:
                return self.near(gold, answer, left.value, right.value)
        except (TooLargeError, OverflowError):
            pass
        except ZeroDivisionError:
            return False
        return self._probed(gold, answer)

    def _probed(self, gold: Expr, answer: Expr) -> bool:
        from stepgym.rewards.maths.probing import Agreement, probe, too_large

        self.tier = Tier.PROBING
        constant = not symbols(gold) and not symbols(answer)
        target, value = (self._value(gold), self._value(answer)) if constant else (None, None)
        if target is not None and value is not None:
            if self._tolerates(gold) and self.near(gold, answer, target, value):
                return True
            if min(abs(target), abs(value)) > _SMALL and abs(target - value) > _SMALL * abs(target):
                return False
        found = probe(gold, answer, self.work)
        if found is not Agreement.UNKNOWN:
            return found is Agreement.SAME
        used = calls(gold) | calls(answer)
        if any(name.endswith("()") for name in used) or not symbols(gold) >= symbols(answer):
            return False
        if not used & _SERIES and (mentions(gold, INFINITY) or mentions(answer, INFINITY)):
            return False
        if too_large(answer) and not too_large(gold):
            return False
        return self._symbolic(gold, answer)

    def _value(self, constant: Expr) -> Fraction | None:
        from stepgym.rewards.maths.probing import value_of

        if constant not in self._values:
            self._values[constant] = value_of(constant, self.work)
        return self._values[constant]

    def _symbolic(self, gold: Expr, answer: Expr) -> bool:
        from stepgym.sandboxes.workers import OverBudgetError, shared_pool

        self.tier = Tier.SYMBOLIC
        self._symbolic_calls += 1
        if self._symbolic_calls > MAX_SYMBOLIC_CALLS:
            raise OverBudgetError(f"more than {MAX_SYMBOLIC_CALLS} pairs of scalars are too hard for the exact tiers")
        seconds = self.policy.cpu_seconds / 2 ** (self._symbolic_calls - 1)
        return bool(shared_pool().run("stepgym.rewards.maths.symbolic:same", (gold, answer), cpu_seconds=seconds))

    def _tolerates(self, gold: Expr) -> bool:
        if not self.policy.tolerance:
            return False
        return self.policy.tolerant is Tolerant.ANY_GOLD or (isinstance(gold, Num) and gold.place is not None)

    def near(self, gold: Expr, answer: Expr, target: Fraction, value: Fraction) -> bool:
        """Whether `value` may stand for `target`: close, and under ROUNDED_GOLD a rounding of it to its last digit.

        An answer with fewer digits than the gold is no rounding of it, so 17 is not 17.001.
        """
        self.tier = Tier.NUMBER
        if not self._tolerates(gold) or abs(value - target) > Fraction(self.policy.tolerance) * abs(target):
            return False
        if self.policy.tolerant is Tolerant.ROUNDED_GOLD and isinstance(gold, Num) and gold.place is not None:
            if isinstance(answer, Num) and (answer.place is None or answer.place >= gold.place):
                return False
            unit = Fraction(10) ** gold.place
            cut_off = 0 <= abs(value) - abs(target) < unit and value * target > 0
            if not cut_off and abs(value - target) > unit / 2:
                return False
        self.tier = Tier.ROUNDED
        return True
