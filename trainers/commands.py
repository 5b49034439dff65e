"""``stepgym train`` and ``stepgym curriculum``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from stepgym.trainers.config import TrainConfig

if TYPE_CHECKING:
    from stepgym.trainers.engine import Training
    from stepgym.trainers.recipe import Recipe
    from stepgym.trainers.sizes import Sizes


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
        if TrainingFolder(config.folder).goes_on:
            print(f"\nthe same command goes on from the last checkpoint in {config.folder}", file=sys.stderr)
        raise
    show_training(training)
    for path in (training.checkpoint, training.curve, training.report):
        print(path)


def show_training(training: Training) -> None:
    """Print what it came to."""
    print(
        f"held-out reward {training.before.reward:.3f} before, {training.after.reward:.3f} after {training.steps} steps"
    )
    if missing := training.after.ungraded:
        print(f"{missing} of {missing + training.after.graded} held-out attempts could not be graded, and do not count")
    if training.ungraded:
        print(training.ungraded)
    if training.idle_steps:
        idle = f"in {training.idle_steps} of {training.steps} steps"
        print(f"{idle} there was nothing to learn from: {training.why_idle}")
    if training.idle_steps == training.steps > 0:
        print("so the run learned nothing, and the model is as it was")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig:
    """Several trainings in a row."""

    file: Positional[Path]
    """TOML: what all stages share in [common], and a [[stage]] table for each, by the names of train's settings."""
    out: Path | None = None
    """Folder of the curriculum; runs/FILE by default."""
    plan: bool = False
    """Print what would run, and stop."""


def curriculum(config: CurriculumConfig) -> None:
    """Train in stages, each from the model that the one before left; the same command goes on."""
    from stepgym.trainers.curriculum import REPORT, read_curriculum, run_curriculum
    from stepgym.trainers.sizes import sizes_of

    out = config.out or Path("runs") / config.file.stem
    stages = read_curriculum(config.file, out)
    if config.plan:
        for stage in stages:
            show_plan(stage, sizes_of(stages[0]))
        return
    try:
        done = run_curriculum(stages, out)
    except KeyboardInterrupt:
        print(f"\nthe same command goes on in {out}", file=sys.stderr)
        raise
    for training in done:
        print(f"{training.folder.name}: ", end="")
        show_training(training)
    print(done[-1].checkpoint)
    print(out / REPORT)


def show_plan(config: TrainConfig, sizes: Sizes | None = None) -> None:
    """Print what would run on a model of these sizes; by default those of the model that it starts from."""
    from stepgym.trainers.engine import check_engine
    from stepgym.trainers.making import make_recipe
    from stepgym.trainers.planning import make_plan
    from stepgym.trainers.sizes import sizes_of

    check_engine(config.engine)
    recipe = make_recipe(config.recipe, config.settings)
    if config.engine == "openrlhf":
        _show_cluster_plan(config, recipe, sizes)
        return
    plan = make_plan(config, recipe, sizes or sizes_of(config))
    kept = [f"{_size(plan.weights_bytes)} model and optimiser"]
    kept += [f"{_size(plan.critic_bytes)} critic"] if plan.critic_bytes else []
    kept += [f"{_size(plan.frozen_bytes)} frozen models"] if plan.frozen_bytes else []
    kept.append(f"{_size(plan.cache_bytes)} to sample or {_size(plan.activation_bytes)} to learn")
    _show_model(config, recipe, plan.parameters)
    print(f"  tasks        {plan.tasks:,} to learn from, {plan.held_out:,} held out")
    print(f"  steps        {plan.steps:,}, with {plan.updates:,} optimiser updates")
    print(f"  rollouts     at most {plan.rollouts:,} to learn from, {plan.evaluation_rollouts:,} to evaluate")
    print(f"  tokens       at most {plan.sampled_tokens:,} sampled")
    print(f"  memory       about {_size(plan.memory_bytes)}, besides Python's and torch's own: {', '.join(kept)}")


def _show_cluster_plan(config: TrainConfig, recipe: Recipe, sizes: Sizes | None) -> None:
    from stepgym.trainers.cluster.preflight.checks import model_place
    from stepgym.trainers.cluster.preflight.planning import make_cluster_plan, plan_lines
    from stepgym.trainers.sizes import huggingface_sizes

    plan = make_cluster_plan(config, recipe, sizes or huggingface_sizes(model_place(config.start, "start")))
    _show_model(config, recipe, plan.parameters)
    for line in plan_lines(config, plan):
        print(f"  {line}")


def _show_model(config: TrainConfig, recipe: Recipe, parameters: int) -> None:
    from stepgym.trainers.making import settings_of

    print(f"{config.recipe} on the {config.engine} engine, in {config.folder}")
    print(f"  settings     {' '.join(f'{name}={_line(value)}' for name, value in settings_of(recipe).items())}")
    start = f"from {config.start}" if config.start else "random weights"
    print(f"  model        {parameters:,} parameters, {start}")


def _line(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if any(map(str.isspace, text)) else text


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
