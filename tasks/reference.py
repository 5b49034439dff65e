"""The reference solution that a task carries: its expert steps, or what its source had in a column for solutions."""

from __future__ import annotations

from stepgym.records import Task
from stepgym.tasks.expert_steps import joined
from stepgym.tasks.fields import USUAL


def reference_solution(task: Task) -> str:
    """The worked solution of `task`; "" if it has none, or one that says nothing but the answer."""
    if task.steps:
        return joined(task, task.steps)
    kept = (task.meta.get(name) for name in USUAL["solution"])
    solution = next((text.strip() for text in kept if isinstance(text, str) and text.strip()), "")
    return "" if solution == task.answer.strip() else solution


def last_step(task: Task) -> str:
    """The last of the steps, or the last paragraph of a solution that is not cut into steps."""
    return task.steps[-1] if task.steps else reference_solution(task).rpartition("\n\n")[2]
