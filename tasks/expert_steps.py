"""One training instance for each expert step (SRL, arXiv 2510.25992, section 3 and appendix B).

A task with the expert steps y1 … yN gives N - 1 instances: the k-th asks for yk, given the problem and y1 … yk-1. The
last step is no target, as in the paper, unless it is asked for. An instance is a `Task` again, with one step.

In a recorded run a step is a command, and what it printed stands in `OBSERVATIONS`. A run is too long to be shown
whole, so its instances show the issue and the last two rounds (SRL, figure 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.tasks.numbered import split_title

JOINT = "joint"
"""The key in `Task.meta` of what stands between two steps of a whole solution; without it, a line break."""
OBSERVATIONS = "observations"
"""The key in `Task.meta` of what each command of a recorded run printed: a list of texts, one a step."""
SHOWN_ROUNDS = 2
"""How many rounds of command and output an instance of a recorded run shows."""
SO_FAR = "The solution so far:"
REMEDY = "`stepgym annotate steps TASKS --out FILE` writes steps for a task file"


def step_instances(task: Task, *, last: bool = False, titled: bool = False) -> tuple[Task, ...]:
    """The instances of a task; an instance is its own only one. See `check_steps` for the settings and errors."""
    if is_instance(task):
        return (task,)
    count = check_steps(task, last=last, titled=titled)
    return tuple(step_instance(task, k, titled=titled) for k in range(1, count + 1))


def step_instance(task: Task, k: int, *, titled: bool = False) -> Task:
    """The instance whose target is the `k`-th step, counted from 1; its id is the task's with ``#k``.

    With `titled`, the step's title is shown too, and the target is what follows it (all of it, if nothing does).
    """
    before, target = task.steps[: k - 1], task.steps[k - 1]
    title = ""
    if titled and (parts := split_title(target)).body:
        title, target = parts.title, parts.body
    return _instance(task, k, _context(task, before, title), target)


def whole_solution(task: Task) -> Task:
    """The instance whose target is the whole solution: the holistic, one-step baseline of SRL. It counts as step 0.

    Raises `TaskError` for a task without steps.
    """
    if is_instance(task):
        raise TaskError(f"task {task.id!r} is a single step of {task.meta['of']!r}, and no whole solution")
    check_steps(task, last=True)
    return _instance(task, 0, task.prompt, joined(task, task.steps))


def is_instance(task: Task) -> bool:
    """Whether the task was made here. Its ``meta`` then says ``expert_step``, of how many, and ``of`` which task."""
    return "expert_step" in task.meta


def is_whole(task: Task) -> bool:
    """Whether the task is what `whole_solution` gives."""
    return task.meta.get("expert_step") == 0


def check_steps(task: Task, *, last: bool = False, titled: bool = False) -> int:
    """How many instances `task` gives: one fewer than its steps, or with `last` as many.

    Raises `TaskError` if that is none, if a step is empty, if its observations are not one a step, or with `titled` if
    a step has no title.
    """
    count = len(task.steps) - (not last)
    if not task.steps:
        raise TaskError(f"task {task.id!r} has no expert steps; {REMEDY}")
    if count < 1:
        raise TaskError(
            f"task {task.id!r} has one expert step, and the last step is no target; "
            f"ask for the last one too (last=True), or for finer steps: {REMEDY}"
        )
    if k := next((k for k, step in enumerate(task.steps, start=1) if not step.strip()), 0):
        raise TaskError(f"task {task.id!r}: its expert step {k} is empty; leave it out of the steps")
    if OBSERVATIONS in task.meta:
        _observations(task)
    untitled = (k for k, step in enumerate(task.steps[:count], start=1) if titled and not split_title(step).title)
    if k := next(untitled, 0):
        raise TaskError(f"task {task.id!r}: its expert step {k} has no title such as '1. **Title**'; ask for no titles")
    return count


def joined(task: Task, steps: Sequence[str]) -> str:
    """Steps of a task in one text, as they stand in its whole solution."""
    joint = task.meta.get(JOINT, "\n")
    if not isinstance(joint, str):
        raise TaskError(f"task {task.id!r}: meta.{JOINT} must be text, not {type(joint).__name__}")
    return joint.join(steps)


def _instance(task: Task, k: int, prompt: str, target: str) -> Task:
    kept = {key: value for key, value in task.meta.items() if key != OBSERVATIONS}
    place = {"expert_step": k, "expert_steps": len(task.steps), "of": task.id}
    return replace(task, id=f"{task.id}#{k or 'whole'}", prompt=prompt, steps=(target,), meta=kept | place)


def _context(task: Task, before: Sequence[str], title: str) -> str:
    """The problem and what the expert did. Where nothing stands between steps, nothing stands before them either."""
    if OBSERVATIONS in task.meta:
        return "\n\n".join((task.prompt, *_rounds(task, len(before))))
    shown = joined(task, [*before, title] if title else before)
    if not shown:
        return task.prompt
    return task.prompt + (f"\n\n{SO_FAR}\n" if joined(task, ("", "")) else "") + shown


def _rounds(task: Task, count: int) -> Iterator[str]:
    """The last of the first `count` rounds."""
    first = max(0, count - SHOWN_ROUNDS)
    for step, observation in zip(task.steps[first:count], _observations(task)[first:count], strict=True):
        yield f"Command:\n{step}\nOutput:\n{observation}"


def _observations(task: Task) -> list[str]:
    found = task.meta[OBSERVATIONS]
    if not isinstance(found, list) or len(found) != len(task.steps) or not all(isinstance(o, str) for o in found):
        raise TaskError(f"task {task.id!r}: meta.{OBSERVATIONS} must be a list of {len(task.steps)} texts, one a step")
    return found
