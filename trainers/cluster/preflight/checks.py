"""What a run needs, looked at before anything of it is started: bad input is one sentence and costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepgym.errors import ConfigError
from stepgym.tasks import load
from stepgym.trainers.cluster.job import TaskTable
from stepgym.trainers.cluster.preflight.fitting import check_fit, context_of, row_of
from stepgym.trainers.cluster.preflight.known_flags import check_flags
from stepgym.trainers.cluster.preflight.machines import check_gpus
from stepgym.trainers.cluster.preflight.placement import place_parts
from stepgym.trainers.cluster.preflight.prompts import check_prompts
from stepgym.trainers.cluster.preflight.versions import check_versions
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.planning import solver_sizes, takes_solver
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.sft import check_demonstration
from stepgym.trainers.sizes import Sizes, huggingface_sizes
from stepgym.trainers.stage import check_stages
from stepgym.trainers.starting import HUB, huggingface_place

LOCAL_ONLY = {
    "cooldown": "OpenRLHF's learning rate stays where it is after warm-up; for another course give "
    "--cluster.flags actor.lr_scheduler=cosine_with_min_lr",
    "max_batch": "an engine samples as many replies at a time as its memory holds; --cluster.episodes bounds episodes",
}
"""Settings that OpenRLHF cannot heed, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was loaded on the way, so that it need not be loaded twice."""

    tasks: TaskTable
    model: str
    """Folder of the HuggingFace model that the run starts from, or its name on the hub."""
    solver: str
    """The same of the frozen solver; empty where no environment takes one, or it is served elsewhere."""
    sizes: Sizes
    """The model's."""
    context: int
    """Most tokens of an episode."""


def check(config: TrainConfig, recipe: Recipe) -> Checked:
    """Look at everything. Takes seconds: transformers is imported, and prompts are tokenised.

    Raises `ConfigError` for settings, a model or machines that cannot work, `MissingDependencyError` for releases that
    are not those the engine stands on, `UnknownNameError` for a flag, and `TaskError` for tasks.
    """
    check_settings(config)
    installed = check_versions(config.cluster.python, config.device)
    check_flags(config.cluster.flags, installed.script)
    model, solver = model_place(config.start, "start"), solver_place(config, recipe)
    sizes = huggingface_sizes(model)
    context = context_of(config, sizes)
    tasks = load_tasks(config, recipe)
    prompt = check_prompts(config, recipe, tasks, model, context)
    check_fit(config, recipe, sizes, solver_sizes(config, recipe) or sizes, row_of(config, context, prompt))
    if config.device != "cpu":
        needed = sum(part.gpus for part in place_parts(config, recipe))
        check_gpus(needed, address=config.cluster.address, python=installed.python)
    return Checked(tasks=tasks, model=model, solver=solver, sizes=sizes, context=context)


def check_settings(config: TrainConfig) -> None:
    """Raises `ConfigError` for settings of `config` that OpenRLHF cannot heed."""
    if config.device not in ("cpu", "cuda"):
        raise ConfigError(
            f"device must be cpu or cuda with the engine openrlhf, which places its parts itself, not {config.device!r}"
        )
    usual = TrainConfig(recipe=config.recipe)
    for name, instead in LOCAL_ONLY.items():
        if getattr(config, name) != getattr(usual, name):
            raise ConfigError(f"{name} cannot be used with the engine openrlhf: {instead}")


def model_place(start: Path | None, what: str) -> str:
    """What transformers calls the model that the setting `what` names. Raises `ConfigError` for none of its models."""
    instead = f"give a folder with a HuggingFace model, or {HUB}owner/name"
    if start is None:
        raise ConfigError(f"the engine openrlhf trains no model from scratch; with --{what} {instead}")
    place = huggingface_place(start)
    if place is not None:
        return place
    if not start.exists():
        raise ConfigError(f"{what}: there is no {start}; {instead}")
    raise ConfigError(f"{what}: {start} is not a HuggingFace model, and the engine openrlhf runs no other; {instead}")


def solver_place(config: TrainConfig, recipe: Recipe) -> str:
    """The same of the frozen solver; empty where none is asked for, or it is served elsewhere."""
    takes = takes_solver(config, recipe)
    if config.cluster.solver_url:
        if not takes:
            raise ConfigError("cluster: solver_url means nothing where no environment takes a solver; leave it out")
        return ""
    if not takes:
        return ""
    return model_place(config.start if config.solver is None else config.solver, "solver")


def load_tasks(config: TrainConfig, recipe: Recipe) -> TaskTable:
    """All tasks of a run. Raises `TaskError` for the first that the recipe cannot use, and as `check_stages`."""
    given = [task for source in config.tasks for task in load(source)]
    for task in given:
        recipe.check(task)
    rehearsal = tuple(task for source in config.rehearse for task in load(source))
    for task in rehearsal:
        check_demonstration(task)
    table = TaskTable(
        training=tuple(part for task in given for part in recipe.instances(task)),
        held_out=tuple(task for source in config.held_out for task in load(source)),
        rehearsal=rehearsal,
    )
    check_stages(config, recipe, table.training, table.held_out)
    return table
