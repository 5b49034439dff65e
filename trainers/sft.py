"""Supervised fine-tuning: imitate the expert's steps.

The negative log-likelihood of the task's expert steps, written one after the other, given its prompt. It is the warm
start of every recipe that learns from its own attempts: a policy that never succeeds has nothing to reinforce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.trainers import losses
from stepgym.trainers.losses import Normalise
from stepgym.trainers.ranges import check_range
from stepgym.trainers.recipe import Loss, Material, Source
from stepgym.trainers.samples import Term

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

    env: ClassVar[str] = "stepgym/Math-v0"
    evaluated_in: ClassVar[str] = "stepgym/Math-v0"
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    rollouts: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_range(self, "tasks", least=1)
        check_range(self, "learning_rate", above=0)

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without expert steps."""
        check_demonstration(task)

    def instances(self, task: Task) -> Sequence[Task]:
        """The task itself."""
        return (task,)

    def gather(self, source: Source) -> Material:
        """The demonstrations of a few tasks."""
        return Material(samples=tuple(source.demonstrate(task) for task in source.draw(self.tasks)))

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """The mean negative log-likelihood of a token."""
        return Loss(losses.nll(logprobs_N, batch.weights_of(Term.IMITATION)))


def check_demonstration(task: Task) -> None:
    """Raise `TaskError` for a task without expert steps, naming the command that makes them."""
    if not task.steps:
        raise TaskError(
            f"task {task.id!r} has no expert steps to imitate; "
            "make them with `stepgym annotate steps TASKS --out FILE`, or choose tasks that have them"
        )
