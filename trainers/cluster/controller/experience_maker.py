"""What OpenRLHF makes of a step's samples: nothing, for the recipe has said everything."""

from __future__ import annotations

from typing import Any

from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker


class RecipeExperienceMaker(RemoteExperienceMaker):
    """Hands experiences on: they have their advantages, and their log-probabilities where they were sampled."""

    def make_experience_batch(self, rollout_samples: list[Any]) -> list[Any]:
        """As they are."""
        return rollout_samples
