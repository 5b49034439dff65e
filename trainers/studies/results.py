"""What the runs of a study came to: read by claims, tables, plot and report. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from stepgym.rewards.passing import pass_at_k
from stepgym.trainers.studies.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a model can do, measured when its run is over."""

    values: Mapping[str, float] = field(default_factory=dict)
    """By name; NaN where there was nothing to measure."""
    solved: tuple[int, ...] = ()
    """Of `samples` attempts at each held-out hard problem, how many were right."""
    samples: int = 0

    def pass_at(self, k: int) -> float:
        """The chance that at least one of k attempts at a problem is right, without bias; NaN if not measured."""
        return fmean(pass_at_k(self.samples, n, k) for n in self.solved) if self.samples >= k else math.nan


@dataclass(frozen=True, slots=True)
class Point:
    """Where a curve is after a step."""

    step: int
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run: a warm start, or an arm with all its stages."""

    measured: Measured
    curve: tuple[Point, ...]
    """Mean reward of greedy attempts at held-out problems; the steps of later stages are counted on."""
    steps: int
    idle_steps: int
    """Steps in which there was nothing to learn from."""
    seconds: float
    """Sampling and learning; evaluations and the final measurement come on top."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over seeds."""

    mean: float
    deviation: float
    """Sample standard deviation; 0 for one seed."""
    count: int

    def __str__(self) -> str:
        if not self.count:
            return "–"
        digits = 1 if abs(self.mean) >= 100 else 3
        return f"{self.mean:.{digits}f}" + (f" ± {self.deviation:.{digits}f}" if self.count > 1 else "")


@dataclass(frozen=True, slots=True)
class Results:
    """The outcomes by name of arm or warm start, and then by seed. Runs that failed are not in it."""

    study: Study
    outcomes: Mapping[str, Mapping[int, Outcome]]

    def seeds(self, *names: str) -> list[int]:
        """The seeds that all of these finished."""
        finished = [set(self.outcomes.get(name, {})) for name in names]
        return sorted(set.intersection(*finished)) if finished else []

    def value(self, name: str, measure: str, seed: int) -> float:
        """A measure of one run; NaN if it does not have it."""
        return self.outcomes[name][seed].measured.values.get(measure, math.nan)

    def spread(self, name: str, measure: str) -> Spread:
        """A measure over all seeds that have it."""
        return spread([self.value(name, measure, seed) for seed in self.seeds(name)])

    def start_of(self, arm: str) -> str:
        """The name of the warm start that an arm went on from."""
        return next(a.start for a in self.study.arms if a.name == arm)


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation of those that are numbers."""
    found = [value for value in values if not math.isnan(value)]
    if not found:
        return Spread(math.nan, 0.0, 0)
    return Spread(fmean(found), stdev(found) if len(found) > 1 else 0.0, len(found))
