"""A study as a picture: how each arm learned, and where it ended. Mean and spread over seeds.

Of arms that are measured otherwise (a decomposer, among reasoners) only the tables speak.
"""

from __future__ import annotations

import io
import math
from typing import Any

from stepgym.errors import MissingDependencyError
from stepgym.trainers.studies.results import Outcome, Results, spread

INK, GRID = "#1f2430", "#e6e8ec"
COLOURS = (
    *("#9aa3b2", "#b45309", "#0b6e4f", "#3a5bc7", "#a21caf", "#b42318"),
    *("#0e7490", "#65a30d", "#7c3aed", "#be185d", "#ca8a04", "#475569"),
)
DASHES = ("solid", "dashed", "dotted", "dashdot")


def draw(results: Results) -> bytes:
    """A PNG. Raises `MissingDependencyError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("the plot of a study needs matplotlib; install stepgym[train]") from error
    study = results.study
    arms = [arm for arm in study.arms if results.spread(arm.name, study.plotted).count]
    figure = Figure(figsize=(11, max(4.4, 0.34 * len(arms) + 1.4)), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for number, arm in enumerate(arms):
        outcomes = [results.outcomes[arm.name][seed] for seed in results.seeds(arm.name)]
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        _curve(left, outcomes, arm.name, colour, dash)
        _bar(right, results, arm.name, number, colour)
    if arms:
        left.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=2 if len(arms) > 8 else 1)
    left.set_xlabel("step")
    left.set_ylabel("held-out reward, greedy")
    left.set_title(study.title, loc="left", fontsize=11, color=INK, pad=10)
    left.set_ylim(-0.03, 1.03)
    right.set_xlim(0, 1.03)
    right.set_yticks(range(len(arms)), [arm.name for arm in arms])
    right.invert_yaxis()
    right.set_xlabel(f"{study.plotted} after the last step; dots are seeds")
    for axes in (left, right):
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9, colors=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _curve(axes: Any, outcomes: list[Outcome], name: str, colour: str, dash: str) -> None:
    """A run that reached its target and ended stays where it was in the mean of the others."""
    steps = sorted({point.step for outcome in outcomes for point in outcome.curve})
    over = [spread([_at(outcome, step) for outcome in outcomes]) for step in steps]
    means = [each.mean for each in over]
    axes.plot(steps, means, color=colour, linestyle=dash, linewidth=1.8, label=name)
    if len(outcomes) > 1:
        low = [each.mean - each.deviation for each in over]
        high = [each.mean + each.deviation for each in over]
        axes.fill_between(steps, low, high, color=colour, alpha=0.14, linewidth=0)


def _at(outcome: Outcome, step: int) -> float:
    return next((point.reward for point in reversed(outcome.curve) if point.step <= step), math.nan)


def _bar(axes: Any, results: Results, name: str, place: int, colour: str) -> None:
    values = [results.value(name, results.study.plotted, seed) for seed in results.seeds(name)]
    found = spread(values)
    axes.barh(place, found.mean, xerr=found.deviation or None, color=colour, alpha=0.75, height=0.62)
    axes.plot(values, [place] * len(values), "o", color=INK, markersize=3, clip_on=False)
