"""Which tasks an evaluation plays, and why rows of its file are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepgym.agents.swe_replay import with_run
from stepgym.errors import TaskError
from stepgym.evals.swe_judging import check_gradable
from stepgym.evals.swe_predictions import Predictions
from stepgym.records import Task
from stepgym.registry import unknown

if TYPE_CHECKING:
    from stepgym.evals.swe import SWEEval


@dataclass(frozen=True, slots=True)
class Selection:
    """The tasks of a run."""

    tasks: tuple[Task, ...]
    unusable: tuple[str, ...]
    """Why some rows are none."""


def select(config: SWEEval, predictions: Predictions | None) -> Selection:
    """The tasks that can be judged, and why others cannot. Raises `TaskError` if there are none."""
    from stepgym.tasks import load

    broken: list[TaskError] = []
    tasks = load(config.tasks, broken=broken.append)
    usable: list[Task] = []
    for task in tasks:
        try:
            check_gradable(task)
            usable.append(task)
        except (TaskError, LookupError) as error:
            broken.append(error if isinstance(error, TaskError) else TaskError(f"task {task.id!r}: {error}"))
    if not usable:
        raise broken[0] if broken else TaskError(f"{config.tasks}: there is no task in it")
    names = [task.id for task in usable]
    for id in config.ids:
        if id not in names:
            raise unknown("task", id, names)
    wanted = set(config.ids or names)
    if predictions is not None:
        if not broken:
            predictions.check(names)
        broken += [
            TaskError(f"{id}: a prediction for no task that can be judged") for id in predictions.unmatched(names)
        ]
        wanted &= predictions.by_task.keys()
    kept = [task for task in usable if task.id in wanted][: config.limit]
    if config.agent == "replay" and predictions is None:
        kept, missing = _with_runs(config, kept)
        broken += missing
    if not kept:
        raise TaskError(f"{config.tasks}: no task is left to be played")
    return Selection(tuple(kept), tuple(map(str, broken)))


def _with_runs(config: SWEEval, tasks: Sequence[Task]) -> tuple[list[Task], list[TaskError]]:
    """The tasks with their recorded runs, and an error for each that has none."""
    from stepgym.tasks import load

    runs = {run.id: run for run in load(config.runs)} if config.runs else {}
    found = [with_run(task, runs[task.id]) if task.id in runs else task for task in tasks]
    lacking = [TaskError(f"{task.id}: there is no recorded run to replay") for task in found if not task.steps]
    return [task for task in found if task.steps], lacking
