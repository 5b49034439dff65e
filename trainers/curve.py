"""The learning curve: reward on held-out tasks and on training attempts, and the loss."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from stepgym.errors import MissingDependencyError
from stepgym.trainers.metrics import StepRecord

INK, HELD_OUT, TRAINING, GRID = "#1f2430", "#0b6e4f", "#9aa3b2", "#e6e8ec"


def draw_curve(records: Sequence[StepRecord], title: str) -> bytes:
    """A PNG. Raises `MissingDependencyError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("the learning curve needs matplotlib; install stepgym[train]") from error
    figure = Figure(figsize=(9, 4.2), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _reward(left, records)
    _loss(right, records)
    left.set_title(title, loc="left", fontsize=12, color=INK, pad=12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _reward(axes: Any, records: Sequence[StepRecord]) -> None:
    played = [(r.step, r.measures["reward"]) for r in records if not math.isnan(r.measures.get("reward", math.nan))]
    if played:
        steps, rewards = zip(*played, strict=True)
        axes.plot(steps, rewards, color=TRAINING, linewidth=1, label="training attempts")
    evaluated = [(r.step, r.held_out.reward) for r in records if r.held_out is not None]
    steps, rewards = zip(*evaluated, strict=True)
    axes.plot(steps, rewards, color=HELD_OUT, linewidth=2.2, marker="o", markersize=4, label="held-out tasks, greedy")
    axes.set_ylabel("mean reward")
    axes.set_ylim(bottom=min(0.0, *[r for r in rewards if not math.isnan(r)]))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    _style(axes)


def _loss(axes: Any, records: Sequence[StepRecord]) -> None:
    points = [(record.step, record.update.loss) for record in records if record.update is not None]
    if points:
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color=INK, linewidth=1)
        if min(losses) > 0:
            axes.set_yscale("log")
    axes.set_ylabel("loss")
    _style(axes)


def _style(axes: Any) -> None:
    axes.set_xlabel("step")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)
