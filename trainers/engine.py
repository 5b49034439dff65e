"""`train`: settings to a finished run. Which engine does the work is a name in the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepgym.registry import unknown
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import make_recipe
from stepgym.trainers.metrics import HeldOut

ENGINES = {
    "local": "one process, on a CPU or a GPU",
    "openrlhf": "a Ray cluster, with vLLM and DeepSpeed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a run came to."""

    folder: Path
    checkpoint: Path
    curve: Path
    """The learning curve, a PNG."""
    report: Path
    """A self-contained HTML page."""
    steps: int
    idle_steps: int
    """Steps in which there was nothing to learn from."""
    why_idle: str
    """What those have in common; empty if there were none."""
    ungraded: str
    """How many attempts to learn from could not be graded, and why the first; empty if all could."""
    before: HeldOut
    after: HeldOut


def train(config: TrainConfig) -> Training:
    """Run it, or go on with it where its folder says it stopped.

    Raises `ConfigError` for settings that cannot work, `TaskError` for tasks that the recipe cannot learn from,
    `StoreError` for a folder of another run, and `KeyboardInterrupt` once the step in progress is done and saved.
    """
    check_engine(config.engine)
    recipe = make_recipe(config.recipe, config.settings)
    if config.engine == "openrlhf":
        from stepgym.trainers.cluster.engine import ClusterEngine

        return ClusterEngine(config, recipe).run()
    from stepgym.trainers.local import LocalEngine

    return LocalEngine(config, recipe).run()


def check_run(config: TrainConfig) -> None:
    """Raises what `train` would before it has trained anything or written a file."""
    check_engine(config.engine)
    recipe = make_recipe(config.recipe, config.settings)
    if config.engine == "openrlhf":
        from stepgym.trainers.cluster.preflight.checks import check

        check(config, recipe)
        return
    from stepgym.trainers.planning import make_plan
    from stepgym.trainers.sizes import sizes_of

    make_plan(config, recipe, sizes_of(config))


def check_engine(name: str) -> None:
    """Raises `UnknownNameError`."""
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
