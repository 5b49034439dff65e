"""Curves of a run: reward on held-out tasks and on training attempts, the loss, and all that was measured."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepgym.errors import MissingDependencyError
from stepgym.trainers.metrics import StepRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
"""Panels side by side."""
INK, HELD_OUT, TRAINING, GRID = "#1f2430", "#0b6e4f", "#9aa3b2", "#e6e8ec"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a curve that has a name."""

    name: str
    start: int
    """The step after which it begins."""


def draw_curve(records: Sequence[StepRecord], title: str, stretches: Sequence[Stretch] = ()) -> bytes:
    """Reward and loss, as a PNG; `stretches` are marked. Raises `MissingDependencyError` without matplotlib."""
    figure = _figure(9, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _reward(left, records)
    _loss(right, records)
    left.set_title(title, loc="left", fontsize=12, color=INK, pad=18 if stretches else 12)
    for stretch in stretches:
        for axes in (left, right):
            axes.axvline(stretch.start, color=TRAINING, linewidth=0.8, linestyle=":")
        above = left.get_xaxis_transform()
        left.text(stretch.start, 1.0, f" {stretch.name}", transform=above, va="bottom", fontsize=9, color=INK)
    return _png(figure)


def draw_measures(records: Sequence[StepRecord]) -> bytes:
    """What changed from step to step, each number in a panel of its own, as a PNG; empty if nothing did.

    Raises `MissingDependencyError` without matplotlib.
    """
    curves = {name: values for name, values in measured(records).items() if len(set(values.values())) > 1}
    if not curves:
        return b""
    rows = math.ceil(len(curves) / COLUMNS)
    figure = _figure(9, 1.7 * rows)
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, (name, values) in zip(panels, curves.items(), strict=False):
        axes.plot(list(values), list(values.values()), color=INK, linewidth=1)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=9, color=INK)
        _style(axes, size=7)
    for axes in panels[len(curves) :]:
        axes.axis("off")
    return _png(figure)


def measured(records: Sequence[StepRecord]) -> dict[str, dict[int, float]]:
    """Every measure of the records: its name, and its value by step where it is a number."""
    curves: dict[str, dict[int, float]] = {}
    for record in records:
        values = dict(record.measures)
        if record.update is not None:
            values |= {**record.update.measures, "gradient": record.update.gradient}
            values["trained tokens/s"] = record.trained_per_second
        if record.sampled_tokens:
            values["sampled tokens/s"] = record.sampled_per_second
        for name, value in values.items():
            if math.isfinite(value):
                curves.setdefault(name, {})[record.step] = value
    return curves


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("the learning curve needs matplotlib; install stepgym[train]") from error
    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def _png(figure: Figure) -> bytes:
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
    axes.set_ylim(bottom=min([0.0, *(reward for _, reward in (*played, *evaluated) if not math.isnan(reward))]))
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


def _style(axes: Any, size: int = 9) -> None:
    axes.set_xlabel("step", fontsize=size)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=size, colors=INK)
