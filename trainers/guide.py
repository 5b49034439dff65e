"""Guide: hints only where every attempt failed, and an update for the context without the hint.

A group q is attempted n times. If all fail, it is attempted n times more with a hint h in the context. What is found
there is learned *without* the hint: a hinted attempt's tokens follow q alone, and the ratio's denominator is what they
were sampled with,

    ρ_t = π_θ(o_t | q, o_<t) / π_old(o_t | q, h, o_<t),

shaped to f(ρ) = ρ / (ρ + γ) and not clipped, γ being the 0.9-quantile of ρ. All other groups are GRPO's. Guide, arXiv
2506.13923; its objective is taken from the authors' released code, and the paper's is not disclosed beyond it.

The released rule puts the hinted group in the place of the failed one, and keeps it only if it is mixed. With `pool`
failed and hinted attempts are one group. What all hinted attempts have in common, which may be the very skill that was
missing, has advantages that sum to 0 in the first case, and a positive one in the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.tasks.helped import HINT, Help, check_help, with_help
from stepgym.trainers import losses
from stepgym.trainers.groups import Played, measure, measure_guided, play_groups
from stepgym.trainers.grpo import GRPO, weigh
from stepgym.trainers.guide_switches import Correction, Shaping
from stepgym.trainers.losses import Normalise
from stepgym.trainers.ranges import check_range
from stepgym.trainers.recipe import Group, Loss, Material, Source
from stepgym.trainers.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch

FAILED = 0.001
"""A reward up to this is a failure (the released reroll_threshold)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideGRPO(GRPO):
    """Settings of Guide-GRPO: those of GRPO, and what is done where a group fails."""

    clip_high: float = 0.2
    normalise: Normalise = Normalise.SEQUENCE
    help: Help = Help.HINT
    """What the second group is shown."""
    template: str = HINT
    """How it is shown; {prompt} is the problem."""
    pool: bool = False
    """Compare hinted attempts with the failed ones, not with each other alone."""
    mixed: bool = True
    """With `pool`, leave out a hinted group that only succeeded; without, it has nothing to teach anyway."""
    correction: Correction = Correction.HINTED
    """The context that is trained in, and the ratio's denominator."""
    shaping: Shaping = Shaping.QUANTILE
    """What is made of the ratio."""
    gamma: float = 0.9
    """The quantile, or the constant."""

    def __post_init__(self) -> None:
        GRPO.__post_init__(self)
        check_range(self, "gamma", above=0, most=1 if self.shaping is Shaping.QUANTILE else math.inf)

    @property
    def rollouts(self) -> int:
        """Most episodes that a step plays: every group may fail, and be played again."""
        return 2 * self.tasks * self.group * self.rounds

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without an answer, or without help, naming the command that writes it."""
        GRPO.check(self, task)
        check_help((task,), self.help)
        with_help(task, self.help, self.template)

    def gather(self, source: Source) -> Material:
        """Plain attempts, and hinted ones where all of a group's failed."""
        played = play_groups(source, tasks=self.tasks, copies=self.group, rounds=self.rounds, useful=self.teaches)
        again = [group for group in played.groups if failed(group)]
        hinted = source.play([with_help(group.task, self.help, self.template) for group in again], self.group)
        pairs = zip(again, hinted, strict=True)
        guided = [Guided(plain, group) for plain, group in pairs if self.guides(group)]
        samples = self.with_reference(self.credit(played, guided, source), source)
        counts = {"failed_groups": len(again), "guided_groups": len(guided)}
        return Material(samples=samples, measures={**measure(played), **measure_guided(hinted), **counts})

    def guides(self, hinted: Group) -> bool:
        """Whether a hinted group is to be learned from."""
        if self.pool and not self.mixed:
            return max(hinted.graded, default=0.0) > FAILED
        return self.teaches(hinted)

    def credit(self, played: Played, guided: Sequence[Guided], source: Source) -> list[Sample]:
        """The samples of all groups with their advantages."""
        replaced = {id(pair.plain) for pair in guided}
        own = [group for group in played.useful if id(group) not in replaced]
        samples = [s for group in own for s in weigh(group, self.advantages(group.rewards))]
        for pair in guided:
            compared = pair.plain.rewards if self.pool else ()
            advantages = self.advantages(compared + pair.hinted.rewards)
            samples += weigh(pair.plain, advantages[: len(compared)]) if self.pool else []
            samples += self.without_hint(pair, weigh(pair.hinted, advantages[len(compared) :]), source)
        return samples

    def without_hint(self, pair: Guided, samples: Sequence[Sample], source: Source) -> list[Sample]:
        """Hinted samples in the context that they are trained in. Raises `ConfigError` if they took several actions."""
        if self.correction is Correction.ON_HINT:
            return list(samples)
        if any(len(trajectory.steps) > 1 for trajectory in pair.hinted.trajectories):
            raise ConfigError("a hint can be taken out of an attempt of one action only; set max_steps to 1")
        context = source.context(pair.plain.task)
        moved = [sample.trained_in(context) for sample in samples]
        if self.correction is Correction.HINTED:
            return moved
        scored = source.logprobs(moved)
        return [replace(s, sampled_in=context, logprobs=logprobs) for s, logprobs in zip(moved, scored, strict=True)]

    def surrogate(self, logprobs_N: Tensor, batch: TokenBatch, weights_N: Tensor) -> Loss:
        """The clipped surrogate of tokens trained where they were sampled, the shaped one of the others."""
        if self.shaping is Shaping.CLIP:
            return GRPO.surrogate(self, logprobs_N, batch, weights_N)
        own = GRPO.surrogate(self, logprobs_N, batch, weights_N * ~batch.off_policy)
        old, weights = batch.old_logprobs, weights_N * batch.off_policy
        gamma: Tensor | float = self.gamma
        if self.shaping is Shaping.QUANTILE:
            gamma = losses.ratio_quantile(logprobs_N, old, batch.rows, quantile=self.gamma)
        guided = losses.shaped_ratio(logprobs_N, old, batch.advantages, weights, gamma)
        with torch.no_grad():
            share, ratio = float(weights.sum()), float((weights * (logprobs_N - old).exp()).sum())
        return Loss(own.value + guided, {**own.measures, "guided_share": share, "guided_ratio": ratio})


@dataclass(frozen=True, slots=True)
class Guided:
    """A task's failed group, and the one played with a hint."""

    plain: Group
    hinted: Group


def failed(group: Group) -> bool:
    """Whether it was graded, and no attempt succeeded."""
    return bool(group.graded) and max(group.graded) <= FAILED
