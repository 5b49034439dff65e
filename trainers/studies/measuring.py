"""What a model can do when its run is over: alone, with several attempts, on what it knew before, and with help.

All models of a study are measured on the same held-out problems, with the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from stepgym.records import Task, Trajectory
from stepgym.tasks import load
from stepgym.tasks.helped import with_hint, with_subquestions
from stepgym.tasks.subquestions import parse_subquestions
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import make_recipe
from stepgym.trainers.playing import Table
from stepgym.trainers.policy import CheckpointPolicy
from stepgym.trainers.stage import Stage, evaluation_stage, training_stage
from stepgym.trainers.studies.results import Measured
from stepgym.trainers.studies.study import Problem

MEASURE_SEED = 1
"""The seed of the problems measured on: the curve's are drawn with 0."""

Measure = Callable[[Path, Problem, TrainConfig, int], Measured]
"""Measures a checkpoint on a problem, after the training it comes from, with so many samples a problem."""


def measure_solver(checkpoint: Path, problem: Problem, config: TrainConfig, samples: int) -> Measured:
    """How much a model solves.

    ``greedy``: held-out hard problems; ``average`` and ``pass@k``: of several attempts each; ``kept``: easy problems,
    the mean of the levels; ``hinted`` and ``asked``: hard problems with a hint, and with sub-questions, in the prompt.
    """
    policy = CheckpointPolicy(checkpoint, max_batch=config.max_batch, threads=config.threads)
    table, place = Table(config, policy, policy), Stage("stepgym/Math-v0", {"max_steps": 1, "instructions": ""})
    hard = held_out(problem, problem.hard, problem.measured)
    kept = {level: held_out(problem, level, problem.measured) for level in problem.easy}

    def greedy(tasks: Sequence[Task]) -> float:
        groups = table.play(tasks, 1, place, seed="greedy", temperature=0)
        return share([trajectory for group in groups for trajectory in group.trajectories])

    groups = table.play(hard[: problem.sampled], samples, place, seed="samples")
    measured = Measured(solved=tuple(sum(r > 0 for r in group.graded) for group in groups), samples=samples)
    levels = {f"kept {level}": greedy(tasks) for level, tasks in kept.items()}
    values = {
        "greedy": greedy(hard),
        "average": measured.pass_at(1),
        **{f"pass@{k}": measured.pass_at(k) for k in powers(samples)},
        "kept": fmean(levels.values()),
        **levels,
        "hinted": greedy([with_hint(task) for task in hard[: problem.sampled] if task.hint]),
        "asked": greedy([with_subquestions(task) for task in hard[: problem.sampled] if task.subquestions]),
    }
    return replace(measured, values=values)


def measure_decomposer(checkpoint: Path, problem: Problem, config: TrainConfig, samples: int) -> Measured:
    """What a decomposer writes, and what its frozen solver makes of it.

    Of the decompositions of held-out hard problems, `samples` each at temperature 1: ``well formed``, a share;
    ``tokens`` and ``sub-questions`` of a well formed one; ``worked``, the share of sub-questions that hold a worked
    step; ``whole``, the share of decompositions in which all do; ``solver pass@1`` and ``solver pass@n``, where n are
    the environment's tries. A broken form gives the solver nothing, and counts as 0.
    """
    policy = CheckpointPolicy(checkpoint, max_batch=config.max_batch, threads=config.threads)
    started = config.solver or config.start
    solver = policy if started is None else CheckpointPolicy(started, max_batch=config.max_batch)
    recipe = make_recipe(config.recipe, config.settings)
    place = training_stage(config, recipe) if config.recipe == "a2d-decomposer" else evaluation_stage(config, recipe)
    tasks = held_out(problem, problem.hard, problem.sampled)
    groups = Table(config, policy, solver).play(tasks, samples, place, seed="decompositions")
    played = [trajectory.steps[-1] for group in groups for trajectory in group.trajectories if trajectory.graded]
    good = [step for step in played if step.score.parts["format"]]
    questions = [parse_subquestions(step.reply.text) for step in good]
    worked = [["=" in question for question in each] for each in questions]
    values = {
        "well formed": mean([step.score.parts["format"] for step in played]),
        "tokens": mean([len(step.reply.tokens) for step in good]),
        "sub-questions": mean([len(each) for each in questions]),
        "worked": mean([float(holds) for each in worked for holds in each]),
        "whole": mean([float(all(each)) for each in worked]),
        "solver pass@1": mean([_passed(step.score.parts) for step in played]),
        "solver pass@n": mean([float(_passed(step.score.parts) > 0) for step in played]),
    }
    return Measured(values=values)


def held_out(problem: Problem, level: int, count: int) -> tuple[Task, ...]:
    """Problems of a level that no run learns from."""
    return load(problem.source(level, count, "test", seed=MEASURE_SEED))


def powers(most: int) -> list[int]:
    """2, 4, 8, … up to `most`."""
    return [2**power for power in range(1, most.bit_length())]


def share(trajectories: Sequence[Trajectory]) -> float:
    """The share that was right, of those that could be graded."""
    return mean([float(trajectory.reward > 0) for trajectory in trajectories if trajectory.graded])


def mean(values: Sequence[float]) -> float:
    """NaN if there are none."""
    return fmean(values) if values else math.nan


def _passed(parts: Mapping[str, float]) -> float:
    return parts.get("passed", 0.0) / parts.get("graded", 1.0)
