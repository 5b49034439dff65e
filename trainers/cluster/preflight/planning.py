"""What a run of the cluster engine would do, computed before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stepgym.trainers.cluster.preflight.checks import check_settings, load_tasks
from stepgym.trainers.cluster.preflight.fitting import Gpus, cache_of, check_fit, context_of, gpus_of, row_of, said
from stepgym.trainers.cluster.preflight.gpu_memory import GIB
from stepgym.trainers.cluster.preflight.placement import Part
from stepgym.trainers.cluster.preflight.prompts import with_helped
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.planning import solver_sizes
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.sizes import Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """Placement and sizes of a run. Rollouts and tokens are upper bounds: groups all played again, full replies."""

    tasks: int
    held_out: int
    parameters: int
    context: int
    """Most tokens of an episode."""
    row: int
    """Most tokens of a sample; characters count as tokens."""
    steps: int
    epoch: int
    """Steps in which all tasks come up once, if none is drawn in place of another."""
    updates: int
    rollouts: int
    """In a step."""
    sampled_tokens: int
    """In a step."""
    learned_tokens: int
    """In a step: prompts and replies, gone through as often as the recipe says."""
    gpus: tuple[Gpus, ...]
    cached_tokens: int
    """Whose keys and values an engine holds."""


def make_cluster_plan(config: TrainConfig, recipe: Recipe, sizes: Sizes) -> ClusterPlan:
    """The plan of a run on a model of these sizes. Loads and checks the tasks; nothing is started, nobody is asked.

    Raises `ConfigError` for a plan that cannot fit, and `TaskError` for tasks that cannot be learned from.
    """
    check_settings(config)
    tasks = load_tasks(config, recipe)
    context, solver = context_of(config, sizes), solver_sizes(config, recipe) or sizes
    longest = max(len(task.prompt) for task in with_helped(recipe, tasks.training))
    row = row_of(config, context, longest + len(config.instructions) + len(config.system))
    check_fit(config, recipe, sizes, solver, row)
    drawn: int = getattr(recipe, "tasks", 1)
    plain = drawn * getattr(recipe, "group", 1)  # of all rounds so many are learned from, and what was helped
    learned = plain + max(0, recipe.rollouts - plain * getattr(recipe, "rounds", 1))
    return ClusterPlan(
        tasks=len(tasks.training),
        held_out=len(tasks.held_out),
        parameters=sizes.parameters,
        context=context,
        row=row,
        steps=config.steps,
        epoch=-(-len(tasks.training) // drawn),
        updates=config.steps * recipe.epochs * recipe.minibatches,
        rollouts=recipe.rollouts,
        sampled_tokens=recipe.rollouts * config.max_steps * config.max_tokens,
        learned_tokens=learned * recipe.epochs * row,
        gpus=gpus_of(config, recipe, sizes, solver, row),
        cached_tokens=cache_of(config, sizes),
    )


def plan_lines(config: TrainConfig, plan: ClusterPlan) -> Iterator[str]:
    """The plan for a person."""
    cluster = config.cluster
    yield f"placement    {_count(sum(gpus.count for gpus in plan.gpus), 'GPU')}"
    for gpus in plan.gpus:
        parts = " and ".join(map(_processes, gpus.parts))
        yield f"  {_count(gpus.count, 'GPU')} with {parts}, of {cluster.gpu_gb} GiB each:"
        for turn in gpus.turns:
            yield f"    {turn.total / GIB:.1f} while {turn.name}: {said(turn)}"
    order = "while the step before is learned from" if cluster.asynchronous else "in turns with learning"
    episodes = plan.cached_tokens // plan.row
    yield f"sampling     {order}; an engine holds {plan.cached_tokens:,} tokens, {episodes:,} episodes of full length"
    yield f"context      {plan.context:,} tokens, samples of up to {plan.row:,}"
    yield f"tasks        {plan.tasks:,} to learn from, {plan.held_out:,} held out"
    yield f"steps        {plan.steps:,}, with {plan.updates:,} optimiser updates; {_count(plan.epoch, 'step')} an epoch"
    yield f"rollouts     at most {plan.rollouts:,} in a step"
    yield f"tokens       at most {plan.sampled_tokens:,} sampled and {plan.learned_tokens:,} learned from in a step"


def _processes(part: Part) -> str:
    """Such as ``16 policy`` or ``4 engines over 2 each``."""
    return f"{part.processes} {part.name}" + (f" over {part.gpus_each} each" if part.gpus_each > 1 else "")


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
