"""The process that trains the policy: OpenRLHF's, with the recipe's minibatches and loss."""

from __future__ import annotations

from typing import Any, Self

from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer, PolicyModelActor

from stepgym.trainers.cluster.job import Job
from stepgym.trainers.cluster.learning.experience import token_batch
from stepgym.trainers.cluster.learning.policy_loss import PREFIX, RecipeLoss
from stepgym.trainers.cluster.learning.replay_buffer import RecipeReplayBuffer, end_of_update
from stepgym.trainers.cluster.plain import plain


class RecipePolicyTrainer(ActorPPOTrainer):
    """Learns from a step's rows by a recipe."""

    @classmethod
    def of(cls, trainer: ActorPPOTrainer, job: Job) -> Self:
        """`trainer`, which OpenRLHF has connected to the engines already, from here on one of these."""
        trainer.__class__ = cls
        trainer.actor_loss_fn = RecipeLoss(job.recipe)
        trainer.replay_buffer = RecipeReplayBuffer(job, packing=trainer.args.ds.packing_samples)
        trainer.max_epochs = 1  # the buffer lays out all of the recipe's, each in an order of its own
        made: Self = trainer
        return made

    def training_step(self, experience: Experience, kl_ctl: float, step: int, loss_batch_info: Any = None) -> Any:
        """One micro-batch. What is logged of the loss is such that OpenRLHF's mean over tokens gives true numbers.

        That mean weighs each micro-batch by its share of all trained tokens; a sum over a minibatch, averaged over
        minibatches, comes out of it if it is divided by that share.
        """
        buffer, loss = self.replay_buffer, self.actor_loss_fn
        part = buffer.micro_batches[step]
        loss.batch = token_batch(experience, part.weights)
        end_of_update(self.actor.model, buffer.dynamic_optimizer_step[step])
        status = super().training_step(experience, kl_ctl, step, loss_batch_info)
        loss.batch = None
        scale = buffer.tokens / (part.tokens * buffer.updates) if part.tokens else 0.0
        logged = {name: value * scale for name, value in loss.sums.items()}
        # The first minibatch meets the weights that it was sampled with: how far off it is, is the sampler's doing.
        logged["vllm_kl"] *= buffer.updates if part.update == 0 else 0
        logged[PREFIX + "updates"] = float(buffer.updates)
        status["metrics"].update(logged)
        status["weights"].update(dict.fromkeys(logged, "token"))
        return status


class RecipePolicyActor(plain(PolicyModelActor)):  # type: ignore[misc]
    """For `ray.remote`."""

    def init_model_from_pretrained(self, strategy: Any, *args: Any, **options: Any) -> None:
        """As OpenRLHF does it, with the recipe of ``strategy.args.stepgym``."""
        super().init_model_from_pretrained(strategy, *args, **options)
        RecipePolicyTrainer.of(self.trainer, strategy.args.stepgym)
