"""The runs of a study with all their settings, and how long they will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepgym.tasks import load
from stepgym.tasks.expert_steps import joined
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import make_recipe
from stepgym.trainers.studies.job import Job
from stepgym.trainers.studies.study import Arm, Problem, Start, Study

MEASURE = "stepgym.trainers.studies.measuring:measure_solver"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a study may take at its default size."""

    seconds: float = 1200.0
    cores: int = 2
    seeds: int = 3


BUDGET = Budget()


def jobs_of(study: Study, seeds: Sequence[int], folder: Path) -> list[Job]:
    """Warm starts first. Every path in it lies in `folder`."""
    jobs = []
    for seed in seeds:
        place = folder / f"seed-{seed}"
        starts = {start.name: _start_job(study, start, seed, place) for start in study.starts}
        arms = [_arm_job(study, arm, seed, place, starts[arm.start]) for arm in study.arms]
        jobs += [*starts.values(), *arms]
    return sorted(jobs, key=lambda job: job.after is not None)


def material_file(folder: Path, start: str) -> Path:
    """What a warm start imitates."""
    return folder / f"{start}.jsonl"


def rehearsal_file(folder: Path, start: str) -> Path:
    """The same without guessed solutions: what an arm is not to forget."""
    return folder / f"{start}-rehearsed.jsonl"


def helped_file(folder: Path) -> Path:
    """The hard problems with their sub-questions in the prompt."""
    return folder / "helped.jsonl"


def _start_job(study: Study, start: Start, seed: int, place: Path) -> Job:
    folder, problem = place / start.name, study.problem
    curve = problem.source(problem.easy[-1], problem.curve, "test")
    training = replace(
        start.training,
        tasks=(str(material_file(place.parent, start.name)),),
        held_out=(curve,),
        out=folder / f"1-{start.training.recipe}",
        seed=seed,
    )
    return Job(
        name=start.name,
        seed=seed,
        folder=folder,
        stages=(training,),
        problem=problem,
        measure=MEASURE,
        samples=problem.start_samples,
    )


def _arm_job(study: Study, arm: Arm, seed: int, place: Path, start: Job) -> Job:
    problem, folder = study.problem, place / arm.name
    before, stages = start.stages[-1].folder, list[TrainConfig]()
    plain = problem.source(problem.hard, problem.train, "train")
    for number, stage in enumerate(arm.stages, start=1):
        resolved = replace(
            stage,
            tasks=(str(helped_file(place.parent)) if arm.helped else plain,),
            held_out=(problem.source(problem.hard, problem.curve, "test"),),
            rehearse=(str(rehearsal_file(place.parent, arm.start)),) if stage.rehearsal else (),
            start=before,
            out=folder / f"{number}-{stage.recipe}",
            seed=seed,
        )
        stages.append(resolved)
        before = resolved.folder
    return Job(
        name=arm.name,
        seed=seed,
        folder=folder,
        stages=tuple(stages),
        problem=problem,
        measure=arm.measure,
        samples=problem.samples,
        after=start.folder,
    )


SAMPLED, LEARNED, EPISODE, FIXED = 30_000.0, 30_000.0, 1 / 4_000, 3.0
"""Of a model of the default size on a core of its own: tokens sampled, and read while learning, in a second; seconds
that an episode costs besides; and seconds that a stage does (loading, its curve and page)."""


def estimate(job: Job) -> float:
    """Seconds on one core: what it takes if no group is left out, and no target ends a run early."""
    problem = job.problem
    reply, prompt = _lengths(problem)
    sampled = problem.sampled * job.samples
    greedy = 3 * problem.measured + 2 * problem.sampled
    seconds = (sampled + greedy) * (reply / SAMPLED + EPISODE)
    return seconds + sum(_stage_seconds(stage, problem, reply, prompt) for stage in job.stages)


def total(study: Study, seeds: int, workers: int) -> float:
    """Seconds that a whole study takes, were its runs spread evenly."""
    return sum(estimate(job) for job in jobs_of(study, range(seeds), Path("runs"))) / workers


def _stage_seconds(stage: TrainConfig, problem: Problem, reply: float, prompt: float) -> float:
    recipe = make_recipe(stage.recipe, stage.settings)
    stepwise = recipe.env == "stepgym/ExpertStep-v0" and bool(stage.stop)
    written = reply / (problem.hard + 1) if stepwise else reply
    read = prompt + reply / (2 if stepwise else 1)
    played, solved = recipe.rollouts, _solver_tries(stage) * recipe.rollouts
    sampling = (played * written + solved * reply) / SAMPLED + (played + solved) * EPISODE
    samples = played / getattr(recipe, "rounds", 1) or getattr(recipe, "tasks", 0)
    learning = recipe.epochs * (samples + (stage.rehearsed if stage.rehearse else 0)) * read / LEARNED
    evaluations = 1 + stage.steps // stage.evaluate_every
    return FIXED + stage.steps * (sampling + learning) + evaluations * problem.curve * (reply / SAMPLED + EPISODE)


def _solver_tries(stage: TrainConfig) -> int:
    tries = [setting.partition("=")[2] for setting in stage.env_settings if setting.startswith("tries=")]
    return int(tries[0]) if tries else 0


def _lengths(problem: Problem) -> tuple[float, float]:
    """Characters of a solution of the hard level, and of a prompt."""
    task = load(problem.source(problem.hard, 1, "train"))[0]
    return float(len(joined(task, task.steps))), float(len(task.prompt))
