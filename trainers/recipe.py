"""The recipe contract: what is learned from, and the loss on it. An engine does everything else.

A recipe is a frozen dataclass of settings with three methods. It is pure: it asks a `Source` for tasks and rollouts,
and returns samples; the engine (one process, or a cluster) decides where they are sampled and trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

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
        """`copies` episodes of each task with the policy as it is, at temperature 1."""

    def demonstrate(self, task: Task) -> Sample:
        """The task's expert steps as if the policy had written them in one reply."""


class Recipe(Protocol):
    """How to learn. All settings are read-only."""

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
        """Raise `stepgym.errors.TaskError` if nothing can be learned from `task`."""

    def gather(self, source: Source) -> Material:
        """The samples of one step."""

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """The loss of one batch, given the trained tokens' log-probabilities under the model being trained."""
