"""``stepgym train``."""

from __future__ import annotations

import sys

from stepgym.trainers.config import TrainConfig


def train(config: TrainConfig) -> None:
    """Train a model with a recipe; the same command goes on with a run that was stopped."""
    from stepgym.trainers.engine import train as run
    from stepgym.trainers.training_folder import TrainingFolder

    if config.plan:
        show_plan(config)
        return
    try:
        training = run(config)
    except KeyboardInterrupt:
        if TrainingFolder(config.folder).checkpoint.exists():
            print(f"\nthe same command goes on from the last checkpoint in {config.folder}", file=sys.stderr)
        raise
    print(
        f"held-out reward {training.before.reward:.3f} before, {training.after.reward:.3f} after {training.steps} steps"
    )
    if training.idle_steps:
        print(f"in {training.idle_steps} of {training.steps} steps there was nothing to learn from")
    for path in (training.checkpoint, training.curve, training.report):
        print(path)


def show_plan(config: TrainConfig) -> None:
    """Print what would run."""
    from stepgym.trainers.checkpoint import load_checkpoint
    from stepgym.trainers.engine import check_engine
    from stepgym.trainers.making import make_recipe, settings_of
    from stepgym.trainers.planning import make_plan

    check_engine(config.engine)
    recipe = make_recipe(config.recipe, config.settings)
    model = config.model if config.start is None else load_checkpoint(config.start).model.config
    plan = make_plan(config, recipe, model)
    memory = plan.weights_bytes + max(plan.cache_bytes, plan.activation_bytes)
    print(f"{config.recipe} on the {config.engine} engine, in {config.folder}")
    print(f"  settings     {' '.join(f'{name}={value}' for name, value in settings_of(recipe).items())}")
    print(
        f"  model        {plan.parameters:,} parameters"
        + (f", from {config.start}" if config.start else ", random weights")
    )
    print(f"  tasks        {plan.tasks:,} to learn from, {plan.held_out:,} held out")
    print(f"  steps        {plan.steps:,}, with {plan.updates:,} optimiser updates")
    print(f"  rollouts     {plan.rollouts:,} to learn from, {plan.evaluation_rollouts:,} to evaluate")
    print(f"  tokens       at most {plan.sampled_tokens:,} sampled")
    print(f"  memory       about {memory / 2**20:,.0f} MiB, besides Python's and torch's own")
