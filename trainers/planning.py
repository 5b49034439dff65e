"""What a run would do, computed before it is started."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepgym.tasks import load
from stepgym.trainers.batches import LOGITS
from stepgym.trainers.config import ModelConfig, TrainConfig
from stepgym.trainers.recipe import CriticRecipe, Recipe
from stepgym.trainers.sizes import Sizes, bundled_sizes, sizes_of
from stepgym.trainers.stage import check_stages, evaluation_stage, training_stage

FLOAT, HALF = 4, 2
"""Bytes of a float32, and of a bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of a run. Rollouts, tokens and memory are upper bounds: groups all played again, replies of full length."""

    tasks: int
    held_out: int
    parameters: int
    steps: int
    updates: int
    rollouts: int
    evaluation_rollouts: int
    sampled_tokens: int
    weights_bytes: int
    """Weights, their gradients, the optimiser's two moments, and the weights in bfloat16 where those are used."""
    critic_bytes: int
    """The same of the critic, a model of the policy's size; 0 if the recipe has none."""
    frozen_bytes: int
    """Weights of the models that stay as they are: the reference of a KL term, and a solver."""
    cache_bytes: int
    """Keys and values while sampling a full batch."""
    activation_bytes: int
    """What a forward pass of a full batch keeps for the backward pass."""

    @property
    def memory_bytes(self) -> int:
        """Most that is held at a time: sampling and learning take turns."""
        held = self.weights_bytes + self.critic_bytes + self.frozen_bytes
        return held + max(self.cache_bytes, self.activation_bytes)


def make_plan(config: TrainConfig, recipe: Recipe, model: ModelConfig | Sizes) -> Plan:
    """The plan of a run on a model of these sizes. Loads and checks the tasks: bad ones raise `TaskError` here."""
    sizes = bundled_sizes(model) if isinstance(model, ModelConfig) else model
    tasks = [task for source in config.tasks for task in load(source)]
    held_out = [task for source in config.held_out for task in load(source)]
    for task in tasks:
        recipe.check(task)
    instances = [part for task in tasks for part in recipe.instances(task)]
    check_stages(config, recipe, instances, held_out)
    solver = solver_sizes(config, recipe)
    evaluations = 1 + config.steps // config.evaluate_every + (config.steps % config.evaluate_every > 0)
    rollouts, evaluated = config.steps * recipe.rollouts, evaluations * len(held_out)
    rows = min(config.max_batch, max(recipe.rollouts, len(held_out)))
    longest = max(len(task.prompt) for task in (*instances, *held_out)) + len(config.instructions) + len(config.system)
    length = min(sizes.context, longest + config.max_steps * config.max_tokens)  # a token is a character at least
    weights = (4 * FLOAT + HALF * (config.precision == "bfloat16")) * sizes.parameters
    return Plan(
        tasks=len(instances),
        held_out=len(held_out),
        parameters=sizes.parameters,
        steps=config.steps,
        updates=config.steps * recipe.epochs * recipe.minibatches,
        rollouts=rollouts,
        evaluation_rollouts=evaluated,
        sampled_tokens=(rollouts + evaluated) * config.max_steps * config.max_tokens,
        weights_bytes=weights,
        critic_bytes=weights if isinstance(recipe, CriticRecipe) else 0,
        frozen_bytes=FLOAT * (sizes.parameters * keeps_first(config, recipe) + (solver.parameters if solver else 0)),
        cache_bytes=2 * FLOAT * rows * sizes.layers * sizes.cached_width * length,
        # In each block: two norms, q k v, attention, two additions, and the feed-forward layer before and after its
        # function; then logits and their logarithms.
        activation_bytes=FLOAT * config.batch_tokens * sizes.layers * (10 * sizes.width + 2 * sizes.feed_width)
        + 2 * FLOAT * min(config.batch_tokens * sizes.vocabulary, LOGITS),
    )


def keeps_first(config: TrainConfig, recipe: Recipe) -> bool:
    """Whether a run holds the model that it started from besides the one that it trains."""
    return getattr(recipe, "kl", 0.0) > 0 or (takes_solver(config, recipe) and config.solver is None)


def solver_sizes(config: TrainConfig, recipe: Recipe) -> Sizes | None:
    """Of the solver, if it is a model of its own. Raises as `sizes_of`."""
    if config.solver is None or not takes_solver(config, recipe):
        return None
    return sizes_of(replace(config, start=config.solver))


def takes_solver(config: TrainConfig, recipe: Recipe) -> bool:
    """Whether an environment of the run asks for a frozen solver."""
    return any(stage(config, recipe).takes("solver") for stage in (training_stage, evaluation_stage))
