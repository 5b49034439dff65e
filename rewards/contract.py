"""The reward contract: whatever judges an attempt."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from stepgym.records import Attempt, Score, Task


class Reward(Protocol):
    """Judges one attempt. Verifiers and similarities have the same shape, and any function of it is a reward.

    A pure function of the attempt, callable from any thread. What the agent did wrong is a low `Score`; a reward that
    cannot decide returns `Score.ungraded` or raises `stepgym.errors.RewardError`, and never a 0.
    """

    def __call__(self, attempt: Attempt, /) -> Score:
        """The verdict on `attempt`."""


@runtime_checkable
class TaskChecker(Protocol):
    """A reward that can say beforehand whether it will be able to judge a task."""

    def check_task(self, task: Task, /) -> None:
        """Raise `stepgym.errors.TaskError` if no attempt at `task` could be judged: its gold answer is unreadable."""


def check_task(reward: Reward, task: Task) -> None:
    """`reward.check_task(task)`, where the reward has such a method."""
    if isinstance(reward, TaskChecker):
        reward.check_task(task)
