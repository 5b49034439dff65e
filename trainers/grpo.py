"""Group relative policy optimisation: an attempt is good if it beats its siblings.

Each task is attempted G times. An attempt's advantage is its reward minus the group's mean, over the group's standard
deviation, and the clipped policy-gradient loss of PPO makes the better attempts likelier. No value network, no
reference model. Shao et al. 2024, arXiv 2402.03300, equation 3 without the KL term.

A group in which every attempt earned the same teaches nothing. It is left out, so that it does not dilute the mean over
tokens; with `rounds` > 1 other tasks are drawn in its place: DAPO's dynamic sampling (Yu et al. 2025, arXiv 2503.14476,
section 3.2). DAPO's clip-higher (`clip_high`) and its mean over tokens (`normalise`) are the defaults.

Attempts that could not be graded are not attempts: they take no part in the mean, and train nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from stepgym.errors import ConfigError, TaskError
from stepgym.records import Task
from stepgym.trainers import losses
from stepgym.trainers.losses import Normalise
from stepgym.trainers.recipe import Group, Loss, Material, Source
from stepgym.trainers.samples import Sample, to_samples

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch

SAME = 1e-6
"""Rewards of a group whose spread is below this are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPO:
    """Settings of GRPO."""

    tasks: int = 32
    """Tasks (groups) in a step."""
    group: int = 8
    """Attempts at each task."""
    rounds: int = 1
    """Most times tasks are drawn in a step to make up for groups that teach nothing."""
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

    def __post_init__(self) -> None:
        for name, least in (("tasks", 1), ("group", 2), ("rounds", 1), ("epochs", 1), ("minibatches", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"grpo: {name} must be at least {least}, not {getattr(self, name)}")
        if not (0 < self.clip_low < 1 and self.clip_high > 0):
            raise ConfigError(f"grpo: clip_low {self.clip_low} must lie in (0, 1), clip_high {self.clip_high} above 0")

    @property
    def rollouts(self) -> int:
        """Most episodes that a step plays."""
        return self.tasks * self.group * self.rounds

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without a gold answer: no attempt at it could be rewarded."""
        if not task.answer:
            raise TaskError(f"task {task.id!r} has no answer, so attempts at it cannot be rewarded; leave it out")

    def gather(self, source: Source) -> Material:
        """Attempts at a few tasks, each with its advantage."""
        played: list[Group] = []
        useful: list[Group] = []
        for _ in range(self.rounds):
            groups = source.play(source.draw(self.tasks - len(useful)), self.group)
            played += groups
            useful += [group for group in groups if spread(group) > SAME]
            if len(useful) == self.tasks:
                break
        samples = tuple(sample for group in useful for sample in self.samples(group))
        return Material(samples=samples, measures=measure(played, useful=len(useful)))

    def samples(self, group: Group) -> list[Sample]:
        """The graded trajectories of one group, with their advantages."""
        rewards = torch.tensor(group.rewards, dtype=torch.float64)
        advantages: Sequence[float] = losses.group_advantages(rewards, scale=self.scale).tolist()
        return [
            sample
            for trajectory, advantage in zip(group.trajectories, advantages, strict=True)
            if trajectory.graded
            for sample in to_samples(trajectory, advantage=advantage)
        ]

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """The clipped surrogate, and how far the policy has moved."""
        old, weights = batch.old_logprobs, batch.weights
        value = losses.clipped_ratio(logprobs_N, old, batch.advantages, weights, low=self.clip_low, high=self.clip_high)
        moved = losses.drift(logprobs_N, old, weights, low=self.clip_low, high=self.clip_high)
        return Loss(value, {"kl": moved.kl, "clipped": moved.clipped})


def spread(group: Group) -> float:
    """Largest minus smallest graded reward; 0 if fewer than two were graded."""
    graded = [reward for reward in group.rewards if not math.isnan(reward)]
    return max(graded) - min(graded) if graded else 0.0


def measure(groups: Sequence[Group], *, useful: int) -> Mapping[str, float]:
    """What the log says of a step's attempts. `reward` is the mean over graded attempts; NaN if there is none."""
    trajectories = [trajectory for group in groups for trajectory in group.trajectories]
    graded = [trajectory for trajectory in trajectories if trajectory.graded]
    lengths = [len(step.reply.tokens) for trajectory in graded for step in trajectory.steps]
    cut = [not step.reply.finished for trajectory in graded for step in trajectory.steps]
    return {
        "reward": fmean([trajectory.reward for trajectory in graded]) if graded else math.nan,
        "groups": len(groups),
        "useful_groups": useful,
        "ungraded": len(trajectories) - len(graded),
        "reply_tokens": fmean(lengths) if lengths else math.nan,
        "cut_replies": fmean(cut) if cut else math.nan,
    }
