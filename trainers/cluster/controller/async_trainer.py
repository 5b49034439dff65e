"""The two controllers of a run that plays the next steps while it learns from this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import openrlhf.trainer.ppo_trainer_async as openrlhf
import ray

from stepgym.trainers.cluster.controller.recording import Recording
from stepgym.trainers.cluster.controller.samples_generator import RecipeSamples
from stepgym.trainers.cluster.controller.trainer import prepare_streams, scorers_of
from stepgym.trainers.cluster.controller.turns import Turns
from stepgym.trainers.cluster.plain import plain


class RecipeGenerator(plain(openrlhf.GenerateSamplesActor)):  # type: ignore[misc]
    """For `ray.remote`: gathers."""

    samples_generator: Any

    def __init__(
        self, *, strategy: Any, vllm_engines: Any, groups: Mapping[str, Any], turns: Turns, **more: Any
    ) -> None:
        """As OpenRLHF's. `groups` are the processes of the actor, the critic and the reference."""
        openrlhf.prepare_datasets = prepare_streams  # it looks that up there
        super().__init__(strategy=strategy, vllm_engines=vllm_engines, **more)
        tokenizer = self.samples_generator.tokenizer
        self.samples_generator = RecipeSamples(
            strategy=strategy,
            stream=self.prompts_dataloader,
            tokenizer=tokenizer,
            engines=vllm_engines,
            scorers=scorers_of(strategy.args, **groups, tokenizer=tokenizer),
            turns=turns,
        )


class RecipeLearner(Recording, plain(openrlhf.TrainingActor)):  # type: ignore[misc]
    """For `ray.remote`: learns."""

    def __init__(self, *, turns: Turns, **more: Any) -> None:
        """As OpenRLHF's."""
        super().__init__(**more)
        self.set_up(turns)

    def broadcast_to_vllm(self) -> None:
        """Where nothing is gathered meanwhile, or else while nobody asks the models."""
        with self.turns.taken() if self._partial_rollout else nullcontext():
            super().broadcast_to_vllm()

    @contextmanager
    def engines_held(self) -> Iterator[None]:
        """Weights are changed by this process alone; but episodes of the next step are not to share the engines."""
        if self._partial_rollout:
            yield
            return
        ray.get(self.vllm_lock.acquire.remote())
        try:
            yield
        finally:
            ray.get(self.vllm_lock.release.remote())


class RecipeTrainerAsync(plain(openrlhf.PPOTrainerAsync)):  # type: ignore[misc]
    """For `ray.remote`: starts both."""

    def __init__(
        self,
        pretrain: str,
        strategy: Any,
        actor: Any,
        critic: Any,
        reward: Any,
        reference: Any,
        *engines: Any,
        **more: Any,
    ) -> None:
        """As OpenRLHF's, with the job in ``strategy.args.stepgym``."""
        turns, groups = Turns.between_two(), {"actor": actor, "critic": critic, "reference": reference}
        generator = partial(ray.remote(RecipeGenerator).remote, groups=groups, turns=turns)
        learner = partial(ray.remote(RecipeLearner).remote, turns=turns)
        # It looks them up there, and asks them for no more than `remote`.
        openrlhf.GenerateSamplesActor = SimpleNamespace(remote=generator)
        openrlhf.TrainingActor = SimpleNamespace(remote=learner)
        super().__init__(pretrain, strategy, actor, critic, reward, reference, *engines, **more)
