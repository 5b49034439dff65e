"""The process that trains the critic: OpenRLHF's, with the recipe's minibatches and value loss."""

from __future__ import annotations

from typing import Any, Self

from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ray.ppo_critic import CriticModelActor, CriticPPOTrainer

from stepgym.trainers.cluster.job import Job
from stepgym.trainers.cluster.learning.experience import token_batch
from stepgym.trainers.cluster.learning.replay_buffer import RecipeReplayBuffer, end_of_update
from stepgym.trainers.cluster.learning.value_loss import RecipeValueLoss
from stepgym.trainers.cluster.plain import plain
from stepgym.trainers.recipe import CriticRecipe


class RecipeCriticTrainer(CriticPPOTrainer):
    """Learns what to expect from a step's rows by a recipe."""

    @classmethod
    def of(cls, trainer: CriticPPOTrainer, job: Job) -> Self:
        """`trainer`, which OpenRLHF has made, from here on one of these."""
        recipe = job.recipe
        assert isinstance(recipe, CriticRecipe), "only such a recipe has a critic"
        trainer.__class__ = cls
        trainer.critic_loss_fn = RecipeValueLoss(recipe)
        trainer.replay_buffer = RecipeReplayBuffer(job, packing=trainer.args.ds.packing_samples)
        trainer.max_epochs = 1  # the buffer lays out all of the recipe's, each in an order of its own
        made: Self = trainer
        return made

    def training_step(self, experience: Experience, step: int, loss_batch_info: Any = None) -> Any:
        """One micro-batch. OpenRLHF logs means over micro-batches; what it gets of the loss makes them sums."""
        buffer, loss = self.replay_buffer, self.critic_loss_fn
        loss.batch = token_batch(experience, buffer.micro_batches[step].weights)
        end_of_update(self.critic, buffer.dynamic_optimizer_step[step])
        status = super().training_step(experience, step, loss_batch_info)
        loss.batch = None
        parts = self.strategy.ds_device_mesh["dp"].size() * len(buffer.micro_batches)
        return status | {name: value * parts / buffer.updates for name, value in loss.sums.items()}


class RecipeCriticActor(plain(CriticModelActor)):  # type: ignore[misc]
    """For `ray.remote`."""

    def init_model_from_pretrained(self, strategy: Any, *args: Any, **options: Any) -> None:
        """As OpenRLHF does it, with the recipe of ``strategy.args.stepgym``."""
        super().init_model_from_pretrained(strategy, *args, **options)
        RecipeCriticTrainer.of(self.trainer, strategy.args.stepgym)
