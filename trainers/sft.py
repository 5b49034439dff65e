"""Supervised fine-tuning: imitate the expert's steps.

The negative log-likelihood of the task's expert steps, written one after the other, given its prompt. It is the warm
start of every recipe that learns from its own attempts: a policy that never succeeds has nothing to reinforce.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepgym.errors import ConfigError, TaskError
from stepgym.records import Task
from stepgym.trainers import losses
from stepgym.trainers.losses import Normalise
from stepgym.trainers.recipe import Loss, Material, Source

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SFT:
    """Settings of supervised fine-tuning."""

    tasks: int = 64
    """Tasks in a step."""
    learning_rate: float = 3e-3
    """After warm-up. Suits a model trained from scratch."""
    normalise: Normalise = Normalise.TOKEN
    """Mean over all tokens, or over sequences."""

    epochs = 1
    minibatches = 1
    rollouts = 0

    def __post_init__(self) -> None:
        if self.tasks < 1:
            raise ConfigError(f"sft: tasks must be at least 1, not {self.tasks}")

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without expert steps."""
        if not task.steps:
            raise TaskError(
                f"task {task.id!r} has no expert steps to imitate; choose tasks that have, or another recipe"
            )

    def gather(self, source: Source) -> Material:
        """The demonstrations of a few tasks."""
        return Material(samples=tuple(source.demonstrate(task) for task in source.draw(self.tasks)))

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """The mean negative log-likelihood of a token."""
        return Loss(losses.nll(logprobs_N, batch.weights))
