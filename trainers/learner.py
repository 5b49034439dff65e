"""One model being trained: samples in, weights changed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch

from stepgym.trainers.batches import make_batches
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.model import Transformer
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.samples import Sample


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
    measures: Mapping[str, float] = field(default_factory=dict)


class Learner:
    """The model and its optimiser (AdamW, Loshchilov & Hutter 2019)."""

    def __init__(self, model: Transformer, recipe: Recipe, config: TrainConfig) -> None:
        self.model, self.recipe, self.config = model, recipe, config
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
        )

    def rate(self, step: int, last: int) -> float:
        """The learning rate of a step, counted from 1, of a run that ends with step `last`.

        Up, level, down: the warm-up-stable-decay schedule (Hu et al. 2024, arXiv 2404.06395, section 4), whose end need
        not be known from the start.
        """
        up = step / self.config.warmup if step < self.config.warmup else 1.0
        left = last - step + 1
        down = left / (self.config.cooldown + 1) if left <= self.config.cooldown else 1.0
        return self.recipe.learning_rate * min(up, down)

    def learn(self, samples: Sequence[Sample], step: int, *, last: int) -> Update:
        """Go through the samples of a step of a run that ends with step `last`, in an order that the seed decides."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step, last)
        updates = [
            self._update(part)
            for epoch in range(self.recipe.epochs)
            for part in self._minibatches(samples, f"{self.config.seed}/order/{step}/{epoch}")
        ]
        names = updates[0].measures
        return Update(
            loss=fmean(update.loss for update in updates),
            gradient=fmean(update.gradient for update in updates),
            updates=len(updates),
            skipped=sum(update.skipped for update in updates),
            tokens=sum(sample.trained_count for sample in samples),
            measures={name: fmean(update.measures[name] for update in updates) for name in names},
        )

    def _minibatches(self, samples: Sequence[Sample], seed: str) -> list[list[Sample]]:
        parts = min(self.recipe.minibatches, len(samples))
        if parts == 1:
            return [list(samples)]
        shuffled = random.Random(seed).sample(samples, len(samples))
        return [shuffled[part::parts] for part in range(parts)]

    def _update(self, samples: Sequence[Sample]) -> Update:
        """One optimiser update, its gradient accumulated over as many passes as memory asks for."""
        config = self.config
        batches = make_batches(samples, self.recipe.normalise, max_tokens=config.batch_tokens, device=config.device)
        self.optimiser.zero_grad()
        loss, measures = 0.0, dict[str, float]()
        for batch in batches:
            part = self.recipe.loss(batch.logprobs(self.model), batch)
            part.value.backward()  # type: ignore[no-untyped-call]
            loss += float(part.value.detach())
            for name, value in part.measures.items():
                measures[name] = measures.get(name, 0.0) + value
        gradient = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_gradient))
        finite = math.isfinite(gradient)
        if finite:
            self.optimiser.step()
        return Update(loss=loss, gradient=gradient, updates=1, skipped=not finite, tokens=0, measures=measures)
