"""Group relative policy optimisation: an attempt is good if it beats its siblings.

Each task is attempted G times. An attempt's advantage is its reward minus the group's mean, over the group's standard
deviation, and the clipped policy-gradient loss of PPO makes the better attempts likelier. No value network. Shao et al.
2024, arXiv 2402.03300, equation 3; its KL term counts if `kl` is set.

A group in which every attempt earned the same teaches nothing. It is left out, so that it does not dilute the mean over
tokens; with `rounds` > 1 other tasks are drawn in its place: DAPO's dynamic sampling (Yu et al. 2025, arXiv 2503.14476,
section 3.2). DAPO's clip-higher (`clip_high`) and its mean over tokens (`normalise`) are the defaults.

Attempts that could not be graded are not attempts: they take no part in the mean, and train nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.trainers import losses
from stepgym.trainers.groups import measure, play_groups
from stepgym.trainers.losses import Normalise
from stepgym.trainers.ranges import check_range
from stepgym.trainers.recipe import Group, Loss, Material, Source
from stepgym.trainers.samples import Sample, Term, to_samples

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPO:
    """Settings of GRPO."""

    tasks: int = 32
    """Tasks (groups) in a step."""
    group: int = 8
    """Attempts at each task."""
    rounds: int = 1
    """Most times tasks are drawn in a step to make up for groups that teach nothing."""
    min_std: float = 1e-6
    """A group teaches if its rewards' standard deviation is above this; a negative number keeps every group."""
    learning_rate: float = 2e-4
    """After warm-up. Suits a small model; a pretrained one of billions of parameters wants about 1e-6."""
    epochs: int = 1
    """How often each step's attempts are gone through."""
    minibatches: int = 1
    """Into how many updates an epoch is split."""
    clip_low: float = 0.2
    """A token's probability gets no further incentive below 1 - this, times its old one."""
    clip_high: float = 0.28
    """The same above 1 + this."""
    scale: bool = True
    """Divide advantages by the group's standard deviation."""
    normalise: Normalise = Normalise.TOKEN
    """Mean over all tokens (DAPO) or over sequences (GRPO)."""
    kl: float = 0.0
    """Weight of the KL divergence from the policy that the run started from."""

    env: ClassVar[str] = "stepgym/Math-v0"
    evaluated_in: ClassVar[str] = "stepgym/Math-v0"

    def __post_init__(self) -> None:
        check_range(self, "tasks", "rounds", "epochs", "minibatches", least=1)
        check_range(self, "group", least=2)
        check_range(self, "min_std")
        check_range(self, "kl", least=0)
        check_range(self, "learning_rate", "clip_high", above=0)
        check_range(self, "clip_low", above=0, most=1)

    @property
    def rollouts(self) -> int:
        """Most episodes that a step plays."""
        return self.tasks * self.group * self.rounds

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without a gold answer: no attempt at it could be rewarded."""
        if not task.answer:
            raise TaskError(f"task {task.id!r} has no answer, so attempts at it cannot be rewarded; leave it out")

    def instances(self, task: Task) -> Sequence[Task]:
        """The task itself."""
        return (task,)

    def gather(self, source: Source) -> Material:
        """Attempts at a few tasks, each with its advantage."""
        played = play_groups(source, tasks=self.tasks, copies=self.group, rounds=self.rounds, useful=self.teaches)
        samples = [s for group in played.useful for s in weigh(group, self.advantages(group.rewards))]
        return Material(samples=self.with_reference(samples, source), measures=measure(played))

    def teaches(self, group: Group) -> bool:
        """Whether its attempts differ enough to learn from."""
        return len(group.graded) > 1 and group.deviation > self.min_std

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """One for each reward of a group."""
        advantages: list[float] = losses.group_advantages(torch.tensor(rewards).double(), scale=self.scale).tolist()
        return advantages

    def with_reference(self, samples: Sequence[Sample], source: Source) -> tuple[Sample, ...]:
        """With what the reference policy thinks of them, if the KL term is to count."""
        if not (self.kl and samples):
            return tuple(samples)
        scored = source.reference_logprobs(samples)
        return tuple(replace(s, reference=reference) for s, reference in zip(samples, scored, strict=True))

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """The surrogate, and the divergence from the reference policy if it is to count."""
        weights_N = batch.weights_of(Term.POLICY)
        surrogate = self.surrogate(logprobs_N, batch, weights_N)
        if not self.kl:
            return surrogate
        away = losses.kl_to_reference(logprobs_N, batch.reference, weights_N)
        return Loss(surrogate.value + self.kl * away, {**surrogate.measures, "kl_reference": float(away.detach())})

    def surrogate(self, logprobs_N: Tensor, batch: TokenBatch, weights_N: Tensor) -> Loss:
        """The clipped surrogate, and how far the policy has moved."""
        old, low, high = batch.old_logprobs, self.clip_low, self.clip_high
        value = losses.clipped_ratio(logprobs_N, old, batch.advantages, weights_N, low=low, high=high)
        moved = losses.drift(logprobs_N, old, weights_N, low=low, high=high)
        return Loss(value, {"kl": moved.kl, "clipped": moved.clipped})


def weigh(group: Group, advantages: Sequence[float]) -> list[Sample]:
    """The samples of a group's graded trajectories, each with the advantage of its trajectory."""
    return [
        sample
        for trajectory, advantage in zip(group.trajectories, advantages, strict=True)
        if trajectory.graded
        for sample in to_samples(trajectory, advantage=advantage)
    ]
