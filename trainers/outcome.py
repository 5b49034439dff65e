"""What a run came to, read from its folder, whichever engine filled it."""

from __future__ import annotations

from stepgym.trainers.config import TrainConfig
from stepgym.trainers.engine import Training
from stepgym.trainers.idleness import say_ungraded, why_idle
from stepgym.trainers.metrics import read_metrics
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.report import write_report
from stepgym.trainers.training_folder import TrainingFolder


def outcome(config: TrainConfig, recipe: Recipe) -> Training:
    """Draw the curve and write the report of a run that has ended, and sum it up."""
    folder = TrainingFolder(config.folder)
    records = read_metrics(folder.metrics)
    evaluations = [record.held_out for record in records if record.held_out is not None]
    write_report(folder, config, recipe, records)
    return Training(
        folder=folder.path,
        checkpoint=folder.checkpoint,
        curve=folder.curve,
        report=folder.report,
        steps=records[-1].step,
        idle_steps=sum(record.update is None for record in records if record.step > 0),
        why_idle=why_idle(records),
        ungraded=say_ungraded(records),
        before=evaluations[0],
        after=evaluations[-1],
    )
