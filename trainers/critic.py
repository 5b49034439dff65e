"""The critic of PPO: what reward is still to come, said at every token."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from stepgym.trainers.backbone import LanguageModel
from stepgym.trainers.batches import TokenBatch


class Critic(nn.Module):
    """A copy of the policy's body with a head of one number, which begins at 0 everywhere."""

    def __init__(self, policy: LanguageModel) -> None:
        super().__init__()
        self.body = deepcopy(policy)
        device = next(policy.parameters()).device
        with torch.no_grad():
            state = policy.hidden(torch.zeros((1, 1), dtype=torch.long, device=device))
        self.head = nn.Linear(state.shape[-1], 1, device=device, dtype=state.dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def values(self, batch: TokenBatch) -> Tensor:
        """(N): the value of the state before each trained token."""
        states = batch.hidden(self.body)
        with torch.autocast(states.device.type, enabled=False):  # returns are regressed on: three digits are too few
            values: Tensor = self.head(states.to(self.head.weight.dtype))[:, 0]
        return values
