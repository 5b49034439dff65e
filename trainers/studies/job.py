"""One run of a study: a warm start, or an arm from its warm start to its measurement. An ordinary training run each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from stepgym.codec import decode, encode
from stepgym.errors import StoreError
from stepgym.store import write_whole
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.metrics import read_metrics
from stepgym.trainers.studies.results import Outcome, Point
from stepgym.trainers.studies.study import Problem

if TYPE_CHECKING:
    from stepgym.trainers.studies.measuring import Measure

JOB, OUTCOME, LOG = "job.json", "outcome.json", "log.txt"
"""Files in the folder of a run: what it was told, what it came to, and what it said."""
METRICS = "metrics.jsonl"
"""The steps of a stage, in that stage's folder (`stepgym.trainers.training_folder`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run, all of its settings resolved."""

    name: str
    """Of the arm or warm start."""
    seed: int
    folder: Path
    stages: tuple[TrainConfig, ...]
    problem: Problem
    measure: str
    samples: int
    """Attempts at each problem that is sampled."""
    after: Path | None = None
    """The folder of the run that this one starts from."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name}, seed {self.seed}"

    @property
    def outcome(self) -> Outcome | None:
        """What it came to; None until it is finished. Raises `StoreError` for a damaged file."""
        path = self.folder / OUTCOME
        return decode(Outcome, _read(path), where=str(path)) if path.exists() else None

    @property
    def steps_done(self) -> int:
        """How far it is."""
        return sum(max((r.step for r in read_metrics(stage.folder / METRICS)), default=0) for stage in self.stages)

    def claim(self) -> None:
        """Write down what it is told. Raises `StoreError` if its folder holds a run that was told something else."""
        path, told = self.folder / JOB, json.loads(json.dumps(encode(self)))
        if not path.exists():
            write_whole(path, json.dumps(told, indent=2) + "\n")
            return
        stored = _read(path)
        if stored != told:
            different = sorted(name for name in told if not isinstance(stored, dict) or stored.get(name) != told[name])
            raise StoreError(
                f"{self.folder} holds a run with other settings ({', '.join(different)}); "
                "choose another folder with --out, or use the same settings to go on with that study"
            )


def read_job(folder: Path) -> Job:
    """The job that was written down in a folder. Raises `StoreError` or `ConfigError`."""
    return decode(Job, _read(folder / JOB), where=str(folder / JOB))


def run_job(job: Job) -> Outcome:
    """Train what is left to train, measure, and write down the outcome. Raises what training raises."""
    from stepgym.trainers.engine import train

    trainings = [train(stage) for stage in job.stages]
    module, _, name = job.measure.partition(":")
    measure: Measure = getattr(import_module(module), name)
    measured = measure(trainings[-1].checkpoint, job.problem, job.stages[-1], job.samples)
    curve, steps, seconds = list[Point](), 0, 0.0
    for training in trainings:
        for record in read_metrics(training.folder / METRICS):
            seconds += record.gather_seconds + record.learn_seconds
            if record.held_out is not None and (record.step or not curve):
                curve.append(Point(steps + record.step, record.held_out.reward))
        steps += training.steps
    outcome = Outcome(
        measured=measured,
        curve=tuple(curve),
        steps=steps,
        idle_steps=sum(training.idle_steps for training in trainings),
        seconds=seconds,
    )
    write_whole(job.folder / OUTCOME, json.dumps(encode(outcome), indent=2) + "\n")
    return outcome


def _read(path: Path) -> object:
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}); remove its folder to run it again") from error
    return content
