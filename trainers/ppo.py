"""Proximal policy optimisation: an action is good if more comes of it than a critic foresaw.

The critic, a model of its own, says at every token what reward is still to come; generalised advantage estimation sets
what came against that, token by token, where GRPO gives a whole attempt one number. Schulman et al. 2017, arXiv
1707.06347, equations 7 and 9; the value loss is not clipped, and there is no entropy term.

Attempts need no siblings: `group` may be 1, and a group in which all earned the same still teaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from stepgym.trainers import losses
from stepgym.trainers.groups import measure, play_groups
from stepgym.trainers.grpo import GRPO
from stepgym.trainers.ranges import check_range
from stepgym.trainers.recipe import Group, Loss, Material, Source
from stepgym.trainers.samples import Sample, Term, to_samples

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PPO(GRPO):
    """Settings of PPO: those of GRPO, and the critic's."""

    min_std: float = -1.0
    """A group teaches if its rewards' standard deviation is above this; a negative number keeps every group."""
    clip_high: float = 0.2
    scale: bool = True
    """Bring the advantages of a step's tokens to mean 0 and standard deviation 1."""
    critic_learning_rate: float = 1e-3
    """After warm-up. Suits a small model; a pretrained one of billions of parameters wants about 1e-5."""
    discount: float = 1.0
    """How much less a reward counts for each token that it comes later."""
    lambd: float = 1.0
    """GAE's λ: below 1, the critic's word counts more than what came after it."""

    def __post_init__(self) -> None:
        check_range(self, "group", least=1)
        check_range(self, "discount", "lambd", least=0, most=1)
        check_range(self, "critic_learning_rate", above=0)
        GRPO.__post_init__(replace(self, group=2) if self.group == 1 else self)

    def teaches(self, group: Group) -> bool:
        """Whether anything in it was graded, and differs as much as `min_std` asks."""
        return bool(group.graded) and group.deviation > self.min_std

    def gather(self, source: Source) -> Material:
        """Attempts at a few tasks, each token with its advantage."""
        played = play_groups(source, tasks=self.tasks, copies=self.group, rounds=self.rounds, useful=self.teaches)
        estimator = Estimator(self.discount, self.lambd, self.scale)
        samples = estimator.weigh(episodes(played.useful), source)
        return Material(samples=self.with_reference(samples, source), measures=measure(played))

    def value_loss(self, values_N: Tensor, batch: TokenBatch) -> Loss:
        """The critic's squared error."""
        return value_loss(values_N, batch)


@dataclass(frozen=True, slots=True)
class Estimator:
    """Advantages from a critic."""

    discount: float
    lambd: float
    scale: bool
    """Bring the advantages of all tokens to mean 0 and standard deviation 1."""

    def weigh(self, of_episodes: Sequence[Sequence[Sample]], source: Source) -> list[Sample]:
        """The samples of episodes, with the advantages and returns that the critic's values give them."""
        samples = list(chain.from_iterable(of_episodes))
        if not samples:
            return []
        values = iter(source.values(samples))
        values_ET = _padded([[v for s in episode for v in _trained(next(values), s)] for episode in of_episodes])
        rewards_ET = _padded([[r for s in episode for r in _trained(s.rewards, s)] for episode in of_episodes])
        advantages_ET = losses.gae(rewards_ET, values_ET, discount=self.discount, lambd=self.lambd)
        returns_ET = advantages_ET + values_ET
        if self.scale:
            lengths_E = torch.tensor([sum(sample.trained_count for sample in episode) for episode in of_episodes])
            real = advantages_ET[torch.arange(advantages_ET.shape[1]) < lengths_E[:, None]]
            advantages_ET = (advantages_ET - real.mean()) / (real.std(correction=0) + 1e-6)
        scored: list[Sample] = []
        for episode, advantages, returns in zip(of_episodes, advantages_ET.tolist(), returns_ET.tolist(), strict=True):
            each, every = iter(advantages), iter(returns)
            scored += [replace(s, advantages=_placed(each, s), returns=_placed(every, s)) for s in episode]
        return scored


def value_loss(values_N: Tensor, batch: TokenBatch) -> Loss:
    """Half the mean squared error of a critic's values."""
    value = losses.squared_error(values_N, batch.returns, batch.weights_of(Term.POLICY))
    return Loss(value, {"value_loss": float(value.detach())})


def episodes(groups: Sequence[Group]) -> list[list[Sample]]:
    """The samples of each graded trajectory."""
    return [to_samples(trajectory) for group in groups for trajectory in group.trajectories if trajectory.graded]


def _trained(numbers: Sequence[float], sample: Sample) -> list[float]:
    return [number for number, trained in zip(numbers, sample.trained, strict=True) if trained]


def _placed(numbers: Iterator[float], sample: Sample) -> tuple[float, ...]:
    return tuple(next(numbers) if trained else 0.0 for trained in sample.trained)


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
