"""The report of a training run: one HTML page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepgym.evals.page import escaped
from stepgym.records import Trajectory
from stepgym.store import write_whole
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.curve import draw_curve, draw_measures, measured
from stepgym.trainers.idleness import say_ungraded, why_idle
from stepgym.trainers.making import settings_of
from stepgym.trainers.metrics import StepRecord
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.report_page import image, number, table, whole_page
from stepgym.trainers.training_folder import TrainingFolder
from stepgym.trajectories import read_trajectories

SHOWN = 12
"""Attempts on the page."""


def write_report(folder: TrainingFolder, config: TrainConfig, recipe: Recipe, records: Sequence[StepRecord]) -> None:
    """Write ``curve.png`` and ``report.html`` into the folder. Model output in them is escaped."""
    curve = draw_curve(records, f"{config.recipe}: reward over {records[-1].step} steps")
    folder.curve.write_bytes(curve)
    body = [
        f'<p class="lead">{escaped(_summary(config, records))}</p>',
        _cards(records),
        image(curve, "Learning curve"),
        *_measures(records),
        "<h2>Evaluations</h2>",
        _evaluations(records),
        "<h2>Attempts at held-out tasks, after the last step</h2>",
        *(_attempt(trajectory) for trajectory in _shown(folder)),
        "<h2>Settings</h2>",
        table(("setting", "value"), [*settings_of(recipe).items(), *settings_of(config).items()]),
    ]
    write_whole(folder.report, whole_page(config.recipe, body))


def _measures(records: Sequence[StepRecord]) -> list[str]:
    panels = draw_measures(records)
    steady = [
        f"{name.replace('_', ' ')} {number(next(iter(values.values())))}"
        for name, values in measured(records).items()
        if len(set(values.values())) == 1
    ]
    parts = [image(panels, "Measures by step")] if panels else []
    parts += [f"<p>The same in every step: {escaped(', '.join(steady))}.</p>"] if steady else []
    return ["<h2>What was measured in each step</h2>", *parts] if parts else []


def _summary(config: TrainConfig, records: Sequence[StepRecord]) -> str:
    idle = sum(record.update is None for record in records if record.step > 0)
    skipped = sum(record.update.skipped for record in records if record.update is not None)
    text = f"{records[-1].step} steps on {', '.join(config.tasks)}; held out: {', '.join(config.held_out)}."
    if idle:
        text += f" In {idle} steps there was nothing to learn from: {why_idle(records)}."
    if missing := say_ungraded(records):
        text += f" {missing}."
    if skipped:
        text += f" {skipped} updates were skipped because their gradient was not finite."
    return text


def _cards(records: Sequence[StepRecord]) -> str:
    evaluations = [record.held_out for record in records if record.held_out is not None]
    seconds = sum(record.gather_seconds + record.learn_seconds for record in records)
    tokens = sum(record.update.tokens for record in records if record.update is not None)
    cards = (
        (number(evaluations[0].reward), "held-out reward before"),
        (number(evaluations[-1].reward), "held-out reward after"),
        (f"{seconds:.0f} s", "sampling and learning"),
        (f"{tokens:,}", "tokens learned from"),
    )
    items = "".join(f"<div><b>{escaped(value)}</b><span>{escaped(name)}</span></div>" for value, name in cards)
    return f'<div class="cards">{items}</div>'


def _evaluations(records: Sequence[StepRecord]) -> str:
    names = list(dict.fromkeys(name for record in records for name in record.measures))
    rows = [
        (
            str(record.step),
            number(record.held_out.reward),
            str(record.held_out.ungraded),
            *(number(record.measures.get(name, math.nan)) for name in names),
            number(record.update.loss if record.update else math.nan),
            number(record.update.gradient if record.update else math.nan),
        )
        for record in records
        if record.held_out is not None
    ]
    return table(
        (
            "step",
            "held out",
            "held out, ungraded",
            *(f"{name.replace('_', ' ')}" for name in names),
            "loss",
            "gradient",
        ),
        rows,
        numbers=True,
    )


def _shown(folder: TrainingFolder) -> list[Trajectory]:
    """Failures first, up to half of the page: they say more."""
    trajectories = [line.trajectory for line in read_trajectories(folder.trajectories)]
    best_last = sorted(trajectories, key=lambda trajectory: trajectory.reward if trajectory.graded else -math.inf)
    return best_last[: SHOWN // 2] + best_last[SHOWN // 2 :][-SHOWN // 2 :]


def _attempt(trajectory: Trajectory) -> str:
    right = trajectory.graded and trajectory.reward > 0
    verdict = trajectory.steps[-1].score.why if trajectory.steps else trajectory.error
    shown = "\n".join(step.reply.text for step in trajectory.steps)
    return (
        f'<div class="attempt"><p><b class="{"right" if right else "wrong"}">reward {number(trajectory.reward)}</b>'
        f" · answer {escaped(trajectory.task.answer)} · {escaped(verdict)}</p>"
        f"<pre>{escaped(trajectory.task.prompt)}\n{escaped(shown)}</pre></div>"
    )
