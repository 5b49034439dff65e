"""What every process of a run is told. It travels in OpenRLHF's arguments, as ``args.stepgym``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stepgym.records import Task
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import make_recipe
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.stage import Stage, evaluation_stage, training_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTable:
    """The tasks of a run."""

    training: tuple[Task, ...]
    """The recipe's instances."""
    held_out: tuple[Task, ...]
    rehearsal: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run, without its tasks: these may be large, and only one process needs them."""

    config: TrainConfig
    model: str
    """Name or folder of the HuggingFace model that the run starts from."""
    solver: str
    """The same of the frozen solver; empty where the environment needs none, or it is served elsewhere."""
    tasks: Any
    """A Ray reference to a `TaskTable`."""

    @property
    def recipe(self) -> Recipe:
        """How to learn."""
        return make_recipe(self.config.recipe, self.config.settings)

    @property
    def training(self) -> Stage:
        """Where it learns."""
        return training_stage(self.config, self.recipe)

    @property
    def evaluation(self) -> Stage:
        """Where it shows what was learned."""
        return evaluation_stage(self.config, self.recipe)

    def task_table(self) -> TaskTable:
        """Fetched from Ray's object store."""
        import ray

        table: TaskTable = ray.get(self.tasks)
        return table
