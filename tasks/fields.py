"""Which column of a foreign row holds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepgym.errors import TaskError
from stepgym.registry import unknown
from stepgym.tasks.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Names of columns. One that is left empty is found by its usual names; a dot goes into a nested object."""

    prompt: str = ""
    """The problem: text, or a chat whose last user message is the problem."""
    answer: str = ""
    """The gold answer: text (with GSM8K's #### too), a number, or a list."""
    solution: str = ""
    """A worked solution; where there is no answer, the last \\boxed{} in it is the gold answer."""
    id: str = ""
    """A name for the row; without one it gets its number."""
    steps: str = ""
    """Expert steps, a list of texts; without them, a solution in a known format is cut into steps."""
    hint: str = ""
    """Help that does not give the answer away."""
    subquestions: str = ""
    """A decomposition of the problem, a list of texts."""
    several: str = ""
    """A true-or-false column: the answer lists several."""
    context: str = ""
    """Text that belongs before the problem."""


USUAL: Mapping[str, tuple[str, ...]] = {
    "prompt": ("problem", "question", "prompt", "input", "query", "instruction"),
    "answer": (
        "answer",
        "final_answer",
        "gold",
        "expected_answer",
        "ground_truth",
        "target",
        "reward_model.ground_truth",
    ),
    "solution": ("solution", "rationale", "explanation"),
    "id": ("id", "unique_id", "task_id", "uid", "idx", "index", "extra_info.index"),
    "steps": ("steps",),
    "hint": ("hint",),
    "subquestions": ("subquestions", "sub_questions"),
    "several": ("is_multiple_answer",),
    "context": ("context",),
}
"""The usual names of each field's column, the first that a row has a value for wins."""


def column(chosen: Fields, field: str, row: Row) -> str:
    """The name of the column of `row` that holds `field`, "" if none does.

    Raises `TaskError` if a column that was chosen by name is not there.
    """
    name: str = getattr(chosen, field)
    if not name:
        return next((usual for usual in USUAL[field] if value_at(usual, row) is not None), "")
    if name.partition(".")[0] not in row.values:
        raise TaskError(f"{row.where}: {unknown('column', name, row.values)}")
    return name


def value_at(name: str, row: Row) -> Any:
    """The value of a column, or inside nested objects for a name with dots; None if there is none."""
    if name in row.values:
        return row.values[name]
    value: Any = row.values
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
