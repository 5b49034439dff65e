"""The recipe contract: what is learned from, and the loss on it. An engine does everything else.

A recipe is a frozen dataclass of settings with three methods. It is pure: it asks a `Source` for tasks and rollouts,
and returns samples; the engine (one process, or a cluster) decides where they are sampled and trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import pstdev
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from stepgym.records import Task, Trajectory
from stepgym.trainers.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch
    from stepgym.trainers.losses import Normalise


@dataclass(frozen=True, slots=True)
class Group:
    """The trajectories of one task, all sampled in the same context."""

    task: Task
    trajectories: tuple[Trajectory, ...]

    @property
    def rewards(self) -> tuple[float, ...]:
        """One for each trajectory; NaN where it could not be graded."""
        return tuple(trajectory.reward for trajectory in self.trajectories)

    @property
    def graded(self) -> tuple[float, ...]:
        """The rewards of those that could be graded."""
        return tuple(reward for reward in self.rewards if not math.isnan(reward))

    @property
    def deviation(self) -> float:
        """Population standard deviation of the graded rewards; 0 if fewer than two were graded."""
        return pstdev(self.graded) if self.graded else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What one step learns from."""

    samples: tuple[Sample, ...]
    """May be empty: then the step changes nothing, and is reported as such."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Numbers for the log, such as the mean reward."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A scalar to minimise, and numbers for the log: sums over tokens by weight, so that parts of a batch add up."""

    value: Tensor
    measures: Mapping[str, float] = field(default_factory=dict)


class Source(Protocol):
    """What an engine gives a recipe to work with, in one step."""

    def draw(self, count: int) -> list[Task]:
        """`count` training tasks, other ones at each call."""

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        """`copies` episodes of each task with the policy as it is, at temperature 1.

        A task may have been given another prompt, such as one with a hint (`stepgym.tasks.helped`).
        """

    def context(self, task: Task) -> tuple[int, ...]:
        """The tokens that the policy is given at the start of an episode of `task`."""

    def demonstrate(self, task: Task) -> Sample:
        """The task's expert steps as if the policy had written them in one reply."""

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """log π of each of a sample's tokens in its `context`, under the policy as it is; 0 where it is not trained."""

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """The same under the policy that the run started from."""

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects at each of a sample's tokens, before it is chosen. For a `CriticRecipe` alone."""


class Recipe(Protocol):
    """How to learn. All settings are read-only."""

    @property
    def env(self) -> str:
        """The environment that its tasks are played in, if nothing else is asked for."""

    @property
    def evaluated_in(self) -> str:
        """The environment that shows what was learned."""

    @property
    def learning_rate(self) -> float:
        """The learning rate after warm-up."""

    @property
    def epochs(self) -> int:
        """How often each step's samples are gone through."""

    @property
    def minibatches(self) -> int:
        """Into how many optimiser updates an epoch is split."""

    @property
    def normalise(self) -> Normalise:
        """What the loss is a mean over."""

    @property
    def rollouts(self) -> int:
        """Most episodes that a step plays."""

    def check(self, task: Task) -> None:
        """Raise `stepgym.errors.TaskError` if nothing can be learned from `task`: the first such task of a run.

        The error names the command that makes what is missing.
        """

    def instances(self, task: Task) -> Sequence[Task]:
        """What is drawn from in place of `task`: itself, or parts of it."""

    def gather(self, source: Source) -> Material:
        """The samples of one step."""

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """The loss of one batch, given the trained tokens' log-probabilities under the model being trained."""


@runtime_checkable
class CriticRecipe(Protocol):
    """A recipe that trains a critic besides the policy."""

    @property
    def critic_learning_rate(self) -> float:
        """The critic's, after warm-up."""

    def value_loss(self, values_N: Tensor, batch: TokenBatch) -> Loss:
        """The critic's loss of one batch, given what it expects at the trained tokens."""
