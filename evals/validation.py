"""Does a verifier accept the gold answers it is meant to judge by, and reject wrong ones? Needs no model.

The habit is that of PrimeIntellect's verifiers: a task is valid if its own grader accepts its own answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from stepgym.agents.gold import solution
from stepgym.errors import StepgymError
from stepgym.records import Attempt, Score, Task
from stepgym.rewards import Reward, check_task
from stepgym.tasks.expert_steps import joined


class Kind(StrEnum):
    """What is wrong with a row."""

    UNREADABLE = "unreadable"
    """The verifier says that it can judge no answer to this task."""
    GOLD_REJECTED = "gold rejected"
    """The gold answer, or the task's own solution, is not accepted."""
    WRONG_ACCEPTED = "wrong accepted"
    """A wrong answer is accepted."""
    UNGRADED = "ungraded"
    """The verifier could not decide."""
    FLAKY = "flaky"
    """The same answer is judged differently from one time to the next."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One row that fails."""

    task: str
    kind: Kind
    answer: str
    """What was graded."""
    why: str
    """What the verifier said."""


def validate_tasks(tasks: Sequence[Task], reward: Reward) -> Iterator[list[Flaw]]:
    """The flaws of each task, in order. A task without a gold answer has none: nothing of it can be judged."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda task: _flaws(task, reward), tasks)


def wrong_answer(gold: str) -> str:
    """A plausible wrong answer: the gold with its first digit changed, else one sign or operator, else another text."""
    digit = re.search(r"[0-9]", gold)
    if digit:
        changed = "5" if digit[0] == "9" else str(int(digit[0]) + 1)
        return gold[: digit.start()] + changed + gold[digit.end() :]
    for old, new in (("+", "-"), ("-", "+"), ("<", ">"), (">", "<"), (r"\le", r"\ge"), (r"\ge", r"\le")):
        if old in gold:
            return gold.replace(old, new, 1)
    return f"{gold}+1" if len(gold) <= 2 else "none of these"


def _flaws(task: Task, reward: Reward) -> list[Flaw]:
    if not task.answer:
        return []
    try:
        check_task(reward, task)
    except StepgymError as error:
        return [Flaw(task.id, Kind.UNREADABLE, task.answer, str(error))]
    right = [_boxed(task.answer), *([joined(task, solution(task))] if task.steps else [])]
    found = [_flaw(task, text, reward, accepted=True) for text in right]
    found.append(_flaw(task, _boxed(wrong_answer(task.answer)), reward, accepted=False))
    return [flaw for flaw in found if flaw is not None]


def _flaw(task: Task, text: str, reward: Reward, *, accepted: bool) -> Flaw | None:
    try:
        score = reward(Attempt(task=task, text=text))
    except StepgymError as error:
        score = Score.ungraded(str(error))
    if not score.graded:
        return Flaw(task.id, Kind.UNGRADED, text, score.why)
    if (score.value >= 1) == accepted:
        return None
    return Flaw(task.id, Kind.GOLD_REJECTED if accepted else Kind.WRONG_ACCEPTED, text, score.why)


def _boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"
