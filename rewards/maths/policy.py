"""What counts as the same answer: every convention that graders disagree about, as a named field."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Percent(StrEnum):
    """What a percent sign means."""

    STRICT = "strict"
    """50 % is 1/2 and nothing else."""
    SIGN = "sign"
    """50 % is 1/2, and may also be written 50 where only one side has the sign."""
    FACTOR = "factor"
    """As SIGN, and without any sign 50 and 0.5 and 5000 are the same (Qwen2.5-Math, ``include_percentage``)."""


class Tolerant(StrEnum):
    """Which gold answers a numeric answer may miss by the tolerance."""

    ROUNDED_GOLD = "rounded_gold"
    """A gold written as a decimal, by an answer that is at least as precise and rounds (or is cut off) to it."""
    ANY_GOLD = "any_gold"
    """Every numeric gold (Qwen2.5-Math)."""


class Finding(StrEnum):
    """How the final answer is found in a text."""

    BOXED = "boxed"
    r"""The last ``\boxed{…}`` and nothing else."""
    STATED = "stated"
    r"""The last ``\boxed{…}``; without one an explicit statement ("the answer is …"), or a short text that is itself an
    answer or ends with one."""
    LAST_NUMBER = "last_number"
    r"""The text after the last ``boxed``, else after "answer is", else the last number (Qwen2.5-Math)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Conventions of a `MathVerifier`. The default is strict about values and lenient about spelling."""

    ordered: bool = False
    """Whether lists without brackets must come in the gold's order. Tuples always do, sets never."""
    percent: Percent = Percent.SIGN
    """What a percent sign means."""
    units: bool = True
    """Whether a unit that only one side writes is ignored. Two different units are never equal."""
    tolerance: float = 1e-3
    """Relative tolerance, never absolute; 0 switches it off."""
    tolerant: Tolerant = Tolerant.ROUNDED_GOLD
    """Which golds the tolerance applies to."""
    reduced: bool = False
    """Whether a fraction of integers in the answer must be in lowest terms (PRM800K)."""
    finding: Finding = Finding.STATED
    """How the final answer is found in a text."""
    cpu_seconds: float = 1.0
    """CPU time the symbolic tier may use for one pair of scalars; beyond it the answer is ungraded."""


DEFAULT = Policy()

QWEN = Policy(
    percent=Percent.FACTOR, tolerance=1e-4, tolerant=Tolerant.ANY_GOLD, finding=Finding.LAST_NUMBER, ordered=True
)
"""The conventions of Qwen2.5-Math's ``evaluation/grader.py``: last number, factor 100, 1e-4 on every number. Kept for
numbers that are comparable with published ones; it accepts 58,503 for 58,500."""
