"""Guide-PPO: Guide's two contexts, with a critic in place of the group.

The attempts are those of `stepgym.trainers.guide`; what an action is worth is said by a critic, which sees the context
without the hint, as the policy does that is trained. The paper (arXiv 2506.13923) names the variant; its details are
not disclosed. Here every graded attempt is learned from, with a hint or without: a critic needs no siblings, so `pool`
and `mixed` change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepgym.trainers.groups import Played
from stepgym.trainers.guide import Guided, GuideGRPO
from stepgym.trainers.ppo import Estimator, episodes, value_loss
from stepgym.trainers.ranges import check_range
from stepgym.trainers.recipe import Group, Loss, Source
from stepgym.trainers.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidePPO(GuideGRPO):
    """Settings of Guide-PPO: those of Guide-GRPO, and the critic's."""

    min_std: float = -1.0
    """A group teaches if its rewards' standard deviation is above this; a negative number keeps every group."""
    scale: bool = True
    """Bring the advantages of a step's tokens to mean 0 and standard deviation 1."""
    critic_learning_rate: float = 1e-3
    """After warm-up. Suits a small model; a pretrained one of billions of parameters wants about 1e-5."""
    discount: float = 1.0
    """How much less a reward counts for each token that it comes later."""
    lambd: float = 1.0
    """GAE's λ: below 1, the critic's word counts more than what came after it."""

    def __post_init__(self) -> None:
        GuideGRPO.__post_init__(self)
        check_range(self, "discount", "lambd", least=0, most=1)
        check_range(self, "critic_learning_rate", above=0)

    def teaches(self, group: Group) -> bool:
        """Whether anything in it was graded, and differs as much as `min_std` asks."""
        return bool(group.graded) and group.deviation > self.min_std

    def guides(self, hinted: Group) -> bool:
        """As any other group."""
        return self.teaches(hinted)

    def credit(self, played: Played, guided: Sequence[Guided], source: Source) -> list[Sample]:
        """The samples of all attempts, each token with its advantage."""
        attempts = episodes(played.useful)
        for pair in guided:
            attempts += [self.without_hint(pair, episode, source) for episode in episodes((pair.hinted,))]
        return Estimator(self.discount, self.lambd, self.scale).weigh(attempts, source)

    def value_loss(self, values_N: Tensor, batch: TokenBatch) -> Loss:
        """The critic's squared error."""
        return value_loss(values_N, batch)
