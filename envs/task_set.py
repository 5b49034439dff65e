"""The tasks of an environment: what they may come from, what its reward says to them, and finding one by its id."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from stepgym.records import Task
from stepgym.registry import unknown
from stepgym.rewards import Reward, check_task

TaskSource: TypeAlias = str | os.PathLike[str] | Sequence[Task]
"""What `stepgym.tasks.load` takes: a set's name, a task file's path, or the tasks themselves."""

REMEMBERED = 8
"""How many accepted task sets are remembered."""

_accepted: tuple[tuple[Reward, tuple[Task, ...]], ...] = ()


def check_tasks(reward: Reward, tasks: tuple[Task, ...]) -> None:
    """Have `reward` look at every task. Raises `stepgym.errors.TaskError` for one it could never judge.

    Environments are made by the hundred, one for each rollout, over task sets of thousands; so this happens for the
    first of them only.
    """
    global _accepted
    known = _accepted
    if any(known_reward == reward and _same(known_tasks, tasks) for known_reward, known_tasks in known):
        return
    for task in tasks:
        check_task(reward, task)
    _accepted = (*known[-REMEMBERED + 1 :], (reward, tasks))


def _same(one: tuple[Task, ...], other: tuple[Task, ...]) -> bool:
    return one is other or (len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True)))


def task_by_id(tasks: Sequence[Task], task_id: str) -> Task:
    """The task of that id. Raises `stepgym.errors.UnknownNameError`, which suggests the nearest."""
    for task in tasks:
        if task.id == task_id:
            return task
    raise unknown("task", task_id, (task.id for task in tasks))
