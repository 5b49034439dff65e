"""Several trainings in a row, each from the model that the one before left: a curriculum.

It is a file. Settings that all stages share stand in ``[common]``, and each ``[[stage]]`` has its own, by the names of
`TrainConfig`. SRL and then reinforcement by the final answer, the sequence that the SRL paper found best:

    [common]
    tasks = ["addition?level=5&count=3000&split=train"]
    held_out = ["addition?level=5&count=100&split=test"]
    start = "runs/warm-start"

    [[stage]]
    recipe = "srl"
    steps = 60
    max_tokens = 64

    [[stage]]
    recipe = "grpo"
    steps = 100
    settings = ["group=16"]

Each stage is an ordinary run in a folder of its own (``1-srl``, ``2-grpo``), which goes on where it was stopped; so the
same command goes on with the curriculum.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.codec import decode
from stepgym.errors import ConfigError, StoreError
from stepgym.store import write_whole
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.curve import Stretch, draw_curve
from stepgym.trainers.engine import Training, check_run, train
from stepgym.trainers.metrics import StepRecord, read_metrics
from stepgym.trainers.report_page import image, number, table, whole_page
from stepgym.trainers.training_folder import TrainingFolder

REPORT = "report.html"


def read_curriculum(file: Path, out: Path) -> list[TrainConfig]:
    """The stages of `file`, to be run in folders of `out`. Raises `ConfigError` naming what does not fit."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    unknown = content.keys() - {"common", "stage"}
    if unknown:
        raise ConfigError(f"{file}: expected [common] and [[stage]] tables, not {', '.join(sorted(unknown))}")
    common, tables = content.get("common", {}), content.get("stage", [])
    if not (isinstance(common, dict) and isinstance(tables, list) and tables):
        raise ConfigError(f"{file}: expected at least one [[stage]] table, and [common] before them")
    stages: list[TrainConfig] = []
    for place, given in enumerate(tables, start=1):
        stages.append(_stage(common, given, f"{file}: stage {place}", out / f"{place}", stages))
    return stages


def _stage(common: dict[str, Any], given: Any, where: str, folder: Path, before: Sequence[TrainConfig]) -> TrainConfig:
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: expected a table")
    for name in ("out", "plan", *(("start",) if before else ())):
        if name in given:
            raise ConfigError(f"{where}: {name} is set by the curriculum; leave it out")
    settings = {name.replace("-", "_"): value for name, value in (common | given).items()}
    stage = decode(TrainConfig, settings, where=where)
    stage = replace(stage, out=folder.with_name(f"{folder.name}-{stage.recipe}"))
    return replace(stage, start=before[-1].folder) if before else stage


def run_curriculum(stages: Sequence[TrainConfig], out: Path) -> list[Training]:
    """Run them in turn, or go on where they were stopped, and write ``report.html`` over all.

    Raises what `stepgym.trainers.engine.train` does. What is learned in a finished stage is not learned again.
    """
    if TrainingFolder(out).config.exists():
        raise StoreError(f"{out} is the folder of a training run; choose another folder with --out")
    for stage in stages:  # so that none is refused when those before it have been trained
        check_run(replace(stage, start=stages[0].start, model=stages[0].model))
    done: list[Training] = []
    for stage in stages:
        done.append(train(stage))
        write_curriculum_report(stages[: len(done)], done, out / REPORT)
    return done


def write_curriculum_report(stages: Sequence[TrainConfig], done: Sequence[Training], path: Path) -> None:
    """One page with the curves of all stages one after the other."""
    joined: list[StepRecord] = []
    stretches: list[Stretch] = []
    for stage, training in zip(stages, done, strict=True):
        start = joined[-1].step if joined else 0
        stretches.append(Stretch(stage.recipe, start))
        joined += [replace(r, step=start + r.step) for r in read_metrics(training.folder / "metrics.jsonl")]
    rows = [
        (
            training.folder.name,
            str(training.steps),
            str(training.idle_steps),
            number(training.before.reward),
            number(training.after.reward),
            ", ".join(stage.held_out),
        )
        for stage, training in zip(stages, done, strict=True)
    ]
    title = " → ".join(stage.recipe for stage in stages)
    curve = draw_curve(joined, f"{title}: reward over {joined[-1].step} steps", stretches)
    heads = ("stage", "steps", "idle", "held out before", "after", "held-out tasks")
    write_whole(path, whole_page(title, [image(curve, "Learning curves"), table(heads, rows)]))
