"""A recipe's value loss in the place of OpenRLHF's."""

from __future__ import annotations

from typing import Any

from openrlhf.models import ValueLoss
from torch import Tensor

from stepgym.trainers.batches import TokenBatch
from stepgym.trainers.cluster.learning.policy_loss import PREFIX
from stepgym.trainers.recipe import CriticRecipe
from stepgym.trainers.samples import Term


class RecipeValueLoss(ValueLoss):
    """Hands the critic's values of the trained tokens to the recipe."""

    def __init__(self, recipe: CriticRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.batch: TokenBatch | None = None
        """What the next call is about."""
        self.sums: dict[str, float] = {}
        """As `RecipeLoss.sums`."""

    def forward(
        self,
        values: Tensor,
        *_: Tensor | None,
        action_mask: Tensor,
        dp_size: int = 1,
        **__: Any,
    ) -> Tensor:
        """This part's share of its minibatch's loss, multiplied by `dp_size`."""
        assert self.batch is not None, "RecipeCriticTrainer says what the loss is about"
        values_N = values[action_mask.bool()]
        loss = self.recipe.value_loss(values_N, self.batch)
        self.sums = {
            "critic_loss": float(loss.value.detach()),
            "values": float((self.batch.weights_of(Term.POLICY) * values_N.detach()).sum()),
            **{PREFIX + name: value for name, value in loss.measures.items()},
        }
        return loss.value * dp_size
