"""A recipe's loss in the place of OpenRLHF's."""

from __future__ import annotations

from typing import Any

from openrlhf.models import PolicyLoss
from torch import Tensor

from stepgym.trainers.batches import TokenBatch
from stepgym.trainers.learner import total_loss
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.samples import Term

PREFIX = "stepgym/"
"""Of a recipe's measures in OpenRLHF's log."""


class RecipeLoss(PolicyLoss):
    """Hands the trained tokens to the recipe: all that is asked of OpenRLHF's tensors is their log-probabilities."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.batch: TokenBatch | None = None
        """What the next call is about."""
        self.sums: dict[str, float] = {}
        """Numbers of the last call, for the log: the parts of a minibatch, in whatever process, add up to its own."""

    def forward(
        self,
        log_probs: Tensor,
        *_: Tensor,
        action_mask: Tensor,
        dp_size: int = 1,
        **__: Any,
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The loss, the share of clipped tokens, and -Σ w log(π_θ / π_old); no correction of the sampler's.

        All three are this part's share of its minibatch. The loss is multiplied by `dp_size`, as gradients are averaged
        over as many processes.
        """
        assert self.batch is not None, "RecipePolicyTrainer says what the loss is about"
        logprobs_N = log_probs[action_mask.bool()]
        loss = total_loss(self.recipe, logprobs_N, self.batch)
        clipped = logprobs_N.new_tensor(loss.measures.get("clipped", 0.0))
        weights_N = self.batch.weights_of(Term.POLICY)
        moved_N = weights_N * (self.batch.old_logprobs - logprobs_N.detach())
        self.sums = {
            "policy_loss": float(loss.value.detach()),
            "ppo_clip_ratio": float(clipped),
            "ppo_kl": float(moved_N.sum()),
            "vllm_kl": float((moved_N * ~self.batch.off_policy).sum()),
            **{PREFIX + name: value for name, value in loss.measures.items()},
        }
        return loss.value * dp_size, clipped, moved_N.sum(), None, None
