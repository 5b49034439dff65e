"""From stored trajectories to a report: avg@n, unbiased pass@k, maj@n, and bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stepgym.evals.report import LEVEL, Estimate, PassAt, TaskResult
from stepgym.evals.run_folder import Place
from stepgym.records import Status, Stop, Usage
from stepgym.rewards.maths.extraction import final_answers
from stepgym.rewards.maths.policy import Finding
from stepgym.rewards.maths.text import clean
from stepgym.rewards.passing import pass_at_k
from stepgym.trajectories import StoredTrajectory

RESAMPLES = 2_000
"""Of the bootstrap; its own error is then well below a tenth of the interval's width."""


@dataclass(slots=True)
class Tally:
    """What the samples of a run add up to."""

    values_by_task: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers_by_task: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ungraded: int = 0
    failed: int = 0
    unanswered: int = 0
    cut: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def graded(self) -> int:
        """How many samples have a verdict."""
        return sum(map(len, self.values_by_task.values()))

    def results(self) -> tuple[TaskResult, ...]:
        """A line a task."""
        return tuple(TaskResult(task, sum(values), len(values)) for task, values in self.values_by_task.items())


def tally(lines: Mapping[Place, StoredTrajectory]) -> Tally:
    """Count one-step episodes. An ungraded or failed one is counted apart, never as 0."""
    total = Tally()
    for place in sorted(lines, key=lambda place: (place.task, place.sample)):  # the order of arrival must not matter
        trajectory = lines[place].trajectory
        if trajectory.stop is Stop.ERROR:
            total.failed += 1
            continue
        step = trajectory.steps[-1]
        total.usage += trajectory.usage
        total.cut += not step.reply.finished
        if not trajectory.graded:
            total.ungraded += 1
            continue
        total.unanswered += step.score.status is Status.UNPARSABLE
        total.values_by_task[place.task].append(trajectory.reward)
        total.answers_by_task[place.task].append(_answer(step.reply.text))
    return total


def average(total: Tally, *, seed: int) -> Estimate | None:
    """avg@n: every task weighs the same, however many of its samples were graded."""
    return bootstrap([float(np.mean(values)) for values in total.values_by_task.values()], seed=seed)


def passes(total: Tally, *, samples: int, seed: int) -> tuple[PassAt, ...]:
    """pass@1, 2, 4, … and pass@`samples`, each over the tasks with at least k graded samples."""
    found = []
    for k in sorted({2**power for power in range(samples.bit_length())} | {samples}):
        values = [
            pass_at_k(len(values), sum(value > 0 for value in values), k)
            for values in total.values_by_task.values()
            if len(values) >= k
        ]
        estimate = bootstrap(values, seed=seed)
        if estimate is not None:
            found.append(PassAt(k, estimate))
    return tuple(found)


def majority(total: Tally, *, seed: int) -> Estimate | None:
    """maj@n: whether the most frequent answer is right; where several are, the mean over them.

    Answers are the same if they read the same once layout is gone. A reply without an answer has no vote, and a task
    with no vote at all counts as 0.
    """
    return bootstrap(
        [_voted(total.answers_by_task[task], values) for task, values in total.values_by_task.items()], seed=seed
    )


def bootstrap(values: Sequence[float], *, seed: int) -> Estimate | None:
    """The mean of `values`, one a task, and its percentile interval (Efron 1979) over resampled tasks; None if empty.

    If all values are equal the interval has no width: that is what resampling says, not certainty.
    """
    if not values:
        return None
    values_T: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = [values_T[rng.integers(len(values_T), size=len(values_T))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values_T.mean()), float(low), float(high))


def share(count: int, total: int) -> Estimate | None:
    """The share of tasks that succeed, with Wilson's score interval (1927), which has a width even at 0 and 1."""
    if not total:
        return None
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    value, more = count / total, z * z / total
    middle = (value + more / 2) / (1 + more)
    half = z / (1 + more) * math.sqrt(value * (1 - value) / total + more / (4 * total))
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half))


def _answer(text: str) -> str:
    return "".join(clean(", ".join(final_answers(text, Finding.STATED))).split())


def _voted(answers: Sequence[str], values: Sequence[float]) -> float:
    votes = Counter(answer for answer in answers if answer)
    if not votes:
        return 0.0
    most = max(votes.values())
    return float(np.mean([v for a, v in zip(answers, values, strict=True) if votes.get(a, 0) == most]))
