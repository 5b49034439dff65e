"""Supervised reinforcement learning: be rewarded for each step by its likeness to the expert's.

An expert's solution of N steps is cut into instances: the problem and the first k - 1 steps, to be followed by step k.
The policy may think before it acts; what it says after ``</think>`` earns the similarity 2M/T to the expert's step, and
-1 if the format is broken (`stepgym/ExpertStep-v0`). So a problem that no rollout solves still teaches. The loss is
GRPO's. Groups whose rewards hardly differ (standard deviation ≤ `min_std`, the paper's ε) are dropped and others drawn.
SRL, arXiv 2510.25992, sections 3.1 to 3.3.

The paper does not disclose ε, nor its clipping; its other settings are a batch of 512 instances of 8 rollouts, a
learning rate of 5e-7, and no KL term. `Holistic` is its one-step baseline: the whole solution against the expert's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepgym.records import Task
from stepgym.tasks.expert_steps import step_instances, whole_solution
from stepgym.trainers.grpo import GRPO
from stepgym.trainers.losses import Normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class SRL(GRPO):
    """Settings of SRL: those of GRPO, where a task is one step of a solution."""

    tasks: int = 64
    rounds: int = 3
    min_std: float = 0.02
    """A group teaches if its similarities' standard deviation is above this; a negative number keeps every group."""
    clip_high: float = 0.2
    normalise: Normalise = Normalise.SEQUENCE
    last: bool = False
    """Learn a solution's last step too; the paper leaves it out."""
    titled: bool = False
    """Show the title of the step that is asked for."""

    env: ClassVar[str] = "stepgym/ExpertStep-v0"

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without expert steps, naming the command that makes them."""
        self.instances(task)

    def instances(self, task: Task) -> Sequence[Task]:
        """One for each step to be learned."""
        return step_instances(task, last=self.last, titled=self.titled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holistic(GRPO):
    """Settings of GRPO on the similarity of a whole solution to the expert's."""

    rounds: int = 3
    min_std: float = 0.02
    """As SRL's."""
    clip_high: float = 0.2
    normalise: Normalise = Normalise.SEQUENCE

    env: ClassVar[str] = "stepgym/ExpertStep-v0"

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without expert steps, naming the command that makes them."""
        self.instances(task)

    def instances(self, task: Task) -> Sequence[Task]:
        """One: the whole solution in one step."""
        return (whole_solution(task),)
