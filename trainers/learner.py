"""One model being trained: samples in, weights changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from stepgym.trainers import losses
from stepgym.trainers.backbone import LanguageModel
from stepgym.trainers.batches import TokenBatch, make_batches, minibatches
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.critic import Critic
from stepgym.trainers.precision import casting
from stepgym.trainers.recipe import CriticRecipe, Loss, Recipe
from stepgym.trainers.samples import Sample, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What learning from one step's samples came to: means over its optimiser updates."""

    loss: float
    gradient: float
    """Norm of the gradient before it was clipped."""
    updates: int
    skipped: int
    """Updates left out because the gradient was not finite."""
    tokens: int
    """Trained tokens, each counted once."""
    passes: int = 1
    """How often each was gone through."""
    measures: Mapping[str, float] = field(default_factory=dict)


class Learner:
    """The model, the recipe's critic if it has one, and their optimiser (AdamW, Loshchilov & Hutter 2019)."""

    def __init__(self, model: LanguageModel, recipe: Recipe, config: TrainConfig) -> None:
        self.model, self.recipe, self.config = model, recipe, config
        self.critic = Critic(model) if isinstance(recipe, CriticRecipe) else None
        parts = [{"params": list(model.parameters()), "full_rate": recipe.learning_rate}]
        if self.critic is not None and isinstance(recipe, CriticRecipe):
            parts.append({"params": list(self.critic.parameters()), "full_rate": recipe.critic_learning_rate})
        self.optimiser = torch.optim.AdamW(parts, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True)

    def rate(self, step: int, last: int) -> float:
        """The share of the full learning rate in a step, counted from 1, of a run that ends with step `last`.

        Up, level, down: the warm-up-stable-decay schedule (Hu et al. 2024, arXiv 2404.06395, section 4), whose end need
        not be known from the start.
        """
        up = step / self.config.warmup if step < self.config.warmup else 1.0
        left = last - step + 1
        down = left / (self.config.cooldown + 1) if left <= self.config.cooldown else 1.0
        return min(up, down)

    def learn(self, samples: Sequence[Sample], step: int, *, last: int) -> Update:
        """Go through the samples of a step of a run that ends with step `last`, in an order that the seed decides."""
        for part in self.optimiser.param_groups:
            part["lr"] = part["full_rate"] * self.rate(step, last)
        updates = [
            self._update(part)
            for epoch in range(self.recipe.epochs)
            for part in minibatches(samples, self.recipe.minibatches, f"{self.config.seed}/order/{step}/{epoch}")
        ]
        names = updates[0].measures
        return Update(
            loss=fmean(update.loss for update in updates),
            gradient=fmean(update.gradient for update in updates),
            updates=len(updates),
            skipped=sum(update.skipped for update in updates),
            tokens=sum(sample.trained_count for sample in samples),
            passes=self.recipe.epochs,
            measures={name: fmean(update.measures[name] for update in updates) for name in names},
        )

    @torch.no_grad()
    def logprobs(self, samples: Sequence[Sample], model: LanguageModel) -> list[tuple[float, ...]]:
        """log π of each of a sample's tokens under `model`; 0 where it is not trained."""
        return self._each(samples, lambda batch: batch.logprobs(model))

    @torch.no_grad()
    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects at each of a sample's tokens; 0 where it is not trained."""
        assert self.critic is not None, "only a CriticRecipe asks for values"
        return self._each(samples, self.critic.values)

    def _update(self, samples: Sequence[Sample]) -> Update:
        """One optimiser update, its gradient accumulated over as many passes as memory asks for."""
        self.optimiser.zero_grad()
        loss, measures = 0.0, dict[str, float]()
        for batch in self._batches(samples):
            for part in self._losses(batch):
                part.value.backward()  # type: ignore[no-untyped-call]
                loss += float(part.value.detach())
                for name, value in part.measures.items():
                    measures[name] = measures.get(name, 0.0) + value
        models: tuple[LanguageModel | Critic, ...] = (self.model, *([self.critic] if self.critic is not None else []))
        limit = self.config.max_gradient
        norms = [float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit)) for model in models]
        finite = all(map(math.isfinite, norms))
        if finite:
            self.optimiser.step()
        return Update(loss=loss, gradient=norms[0], updates=1, skipped=not finite, tokens=0, measures=measures)

    def _losses(self, batch: TokenBatch) -> Iterator[Loss]:
        with self._casting():
            logprobs_N = batch.logprobs(self.model)
        yield total_loss(self.recipe, logprobs_N, batch)
        if self.critic is not None and isinstance(self.recipe, CriticRecipe):
            with self._casting():
                values_N = self.critic.values(batch)
            yield self.recipe.value_loss(values_N, batch)

    def _casting(self) -> torch.autocast:
        return casting(self.config.device, self.config.precision)

    def _batches(self, samples: Sequence[Sample]) -> list[TokenBatch]:
        config = self.config
        return make_batches(samples, self.recipe.normalise, max_tokens=config.batch_tokens, device=config.device)

    def _each(self, samples: Sequence[Sample], scored: Callable[[TokenBatch], Tensor]) -> list[tuple[float, ...]]:
        """`scored` gives a number for each trained token of a batch; these are given back to the samples."""
        numbers: dict[int, tuple[float, ...]] = {}
        for batch in self._batches(samples):
            with self._casting():
                scores = iter(scored(batch).tolist())
            for i in batch.samples:
                numbers[i] = tuple(next(scores) if trained else 0.0 for trained in samples[i].trained)
        return [numbers[i] for i in range(len(samples))]


def total_loss(recipe: Recipe, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
    """What the policy is trained by: the recipe's loss, and what is rehearsed besides."""
    loss = recipe.loss(logprobs_N, batch)
    rehearsal = losses.nll(logprobs_N, batch.weights_of(Term.REHEARSAL))
    return Loss(loss.value + rehearsal, loss.measures)
