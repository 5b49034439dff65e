"""What a run would do, computed before it is started."""

from __future__ import annotations

from dataclasses import dataclass

from stepgym.tasks import load
from stepgym.trainers.config import ModelConfig, TrainConfig
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.tokenizer import CharTokenizer

FLOAT = 4
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of a run. Tokens and memory are upper bounds: replies of full length."""

    tasks: int
    held_out: int
    parameters: int
    steps: int
    updates: int
    rollouts: int
    evaluation_rollouts: int
    sampled_tokens: int
    weights_bytes: int
    """Weights, their gradients, and the optimiser's two moments."""
    cache_bytes: int
    """Keys and values while sampling a full batch."""
    activation_bytes: int
    """What a forward pass of a full batch keeps for the backward pass."""


def make_plan(config: TrainConfig, recipe: Recipe, model: ModelConfig) -> Plan:
    """The plan of a run on a model of these sizes. Loads and checks the tasks: bad ones raise `TaskError` here."""
    tasks = [task for source in config.tasks for task in load(source)]
    held_out = [task for source in config.held_out for task in load(source)]
    for task in tasks:
        recipe.check(task)
    width, vocabulary = model.width, len(CharTokenizer())
    parameters = vocabulary * width + width + model.layers * (12 * width**2 + 2 * width)
    evaluations = 1 + config.steps // config.evaluate_every + (config.steps % config.evaluate_every > 0)
    rollouts, evaluated = config.steps * recipe.rollouts, evaluations * len(held_out)
    rows = min(config.max_batch, max(recipe.rollouts, len(held_out)))
    return Plan(
        tasks=len(tasks),
        held_out=len(held_out),
        parameters=parameters,
        steps=config.steps,
        updates=config.steps * recipe.epochs * recipe.minibatches,
        rollouts=rollouts,
        evaluation_rollouts=evaluated,
        sampled_tokens=(rollouts + evaluated) * config.max_steps * config.max_tokens,
        weights_bytes=4 * FLOAT * parameters,
        cache_bytes=2 * FLOAT * rows * model.layers * width * model.context,
        # In each block: two norms, q k v, attention, two additions, and the feed-forward layer before and after GELU.
        activation_bytes=FLOAT * config.batch_tokens * (model.layers * 18 * width + 2 * vocabulary),
    )
