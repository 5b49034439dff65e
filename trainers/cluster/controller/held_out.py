"""Evaluations during a run: one greedy attempt at each held-out task."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepgym.codec import encode
from stepgym.evals.maths import MathEval, write_report
from stepgym.evals.run_folder import RunFolder
from stepgym.records import Task, Trajectory
from stepgym.store import write_whole
from stepgym.trainers.cluster.controller.source import requests_for
from stepgym.trainers.metrics import HeldOut
from stepgym.trainers.stage import Stage
from stepgym.trainers.training_folder import TrainingFolder
from stepgym.trajectories import VERSION, StoredTrajectory

if TYPE_CHECKING:
    from stepgym.trainers.cluster.controller.dispatch import Engines
    from stepgym.trainers.cluster.job import Job

EVALUATIONS = "evaluations"
"""Folder in that of the run: each evaluation as `stepgym eval` keeps it, in ``step-STEP``."""
MATHS = "stepgym/Math-v0"


class HeldOutTasks:
    """Plays them with the engines as they are, and keeps what was played."""

    def __init__(self, job: Job, tasks: Sequence[Task], engines: Engines, folder: TrainingFolder) -> None:
        self.job, self.tasks, self.engines, self.folder = job, tasks, engines, folder

    def evaluate(self, step: int) -> HeldOut:
        """The attempts replace those of the evaluation before, and stay in a folder of their own."""
        config = self.job.config
        seed = f"{config.seed}/held out"
        requests = requests_for(config, self.job.evaluation, self.tasks, 1, seed=seed, temperature=0.0)
        self.engines.wake()
        trajectories = [trajectory for group in self.engines.play(requests) for trajectory in group]
        self.engines.sleep()
        self.folder.write_trajectories(trajectories)
        keep_evaluation(self.folder.path / EVALUATIONS / f"step-{step}", self.job, trajectories)
        return HeldOut.of(trajectories)


def keep_evaluation(path: Path, job: Job, trajectories: Sequence[Trajectory]) -> None:
    """Write a folder as `stepgym eval math` does, report included. One that is there already is replaced."""
    config = job.config
    grader = grader_of(job.evaluation)
    described = MathEval(
        policy="openrlhf",
        model=job.model,
        tasks=", ".join(config.held_out),
        max_tokens=config.max_tokens,
        stop=(),
        prompt="plain",
        grader=grader,
        seed=config.seed,
    )
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.trajectories.touch()
    folder.claim(described, [trajectory.task for trajectory in trajectories])
    seen: Counter[str] = Counter()
    lines: list[str] = []
    for trajectory in trajectories:
        name = trajectory.task.id
        line = StoredTrajectory(version=VERSION, sample=seen[name], grader=grader, trajectory=trajectory)
        lines.append(json.dumps(encode(line)) + "\n")
        seen[name] += 1  # two sources may have a task of one name
    write_whole(folder.trajectories, "".join(lines))
    write_report(described, folder)


def grader_of(stage: Stage) -> str:
    """The name of the reward, or of the environment that judges by its own."""
    reward = stage.settings.get("reward")
    if isinstance(reward, str):
        return reward
    return "math" if stage.env == MATHS else stage.env
