"""The controller of a run that plays and learns in turns."""

from __future__ import annotations

from typing import Any

import openrlhf.trainer.ppo_trainer as openrlhf

from stepgym.trainers.cluster.controller.recording import Recording
from stepgym.trainers.cluster.controller.samples_generator import RecipeSamples
from stepgym.trainers.cluster.controller.scoring import Scorers
from stepgym.trainers.cluster.controller.stream import TaskStream
from stepgym.trainers.cluster.controller.turns import Turns
from stepgym.trainers.cluster.plain import plain


class RecipeTrainer(Recording, plain(openrlhf.PPOTrainer)):  # type: ignore[misc]
    """For `ray.remote`: OpenRLHF's trainer, whose samples are a recipe's."""

    def __init__(
        self,
        pretrain: str,
        strategy: Any,
        actor: Any,
        critic: Any,
        reward: Any,
        reference: Any,
        engines: Any,
        **more: Any,
    ) -> None:
        """As OpenRLHF's, with the job in ``strategy.args.stepgym``."""
        openrlhf.prepare_datasets = prepare_streams  # it looks that up there
        super().__init__(pretrain, strategy, actor, critic, reward, reference, engines, **more)
        turns = Turns()
        self.set_up(turns)
        self.samples_generator = RecipeSamples(
            strategy=strategy,
            stream=self.prompts_dataloader,
            tokenizer=self.tokenizer,
            engines=engines,
            scorers=scorers_of(strategy.args, actor, critic, reference, self.tokenizer),
            turns=turns,
        )


def prepare_streams(strategy: Any, _tokenizer: Any) -> tuple[TaskStream, None, int]:
    """In the place of OpenRLHF's data sets: the steps, no evaluation of its own, and the optimiser updates in all."""
    job = strategy.args.stepgym
    recipe = job.recipe
    steps: int = job.config.steps
    return TaskStream(steps), None, steps * recipe.epochs * recipe.minibatches


def scorers_of(args: Any, actor: Any, critic: Any, reference: Any, tokenizer: Any) -> Scorers:
    """Asks the models of a run."""
    pad = tokenizer.pad_token_id or 0
    return Scorers(actor, critic, reference, pad=pad, max_tokens=args.stepgym.config.batch_tokens)
