"""Rewards made of rewards.

Each takes its members by name, in order, and logs what a member gave under that name in `Score.parts`: its value as
``name``, its own parts as ``name.part``. Members that could not grade leave no part. What a member raises goes through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stepgym.errors import ConfigError, TaskError
from stepgym.records import Attempt, Score, Task
from stepgym.registry import unknown
from stepgym.rewards.contract import Reward, check_task


@dataclass(frozen=True, slots=True)
class Product:
    """The product of the members' values, as in A2D's format × quality (arXiv 2602.00759, section 2.2).

    Members are asked in order until one gives 0, which settles it: put the cheap ones first. So a graded 0 makes the
    product 0 even if another member is ungraded; otherwise one ungraded member makes the product ungraded.
    """

    rewards: Mapping[str, Reward]

    def __post_init__(self) -> None:
        _check_members(self, self.rewards)

    def __call__(self, attempt: Attempt, /) -> Score:
        """The product for `attempt`; `parts` has the members that were asked."""
        scores: dict[str, Score] = {}
        for name, reward in self.rewards.items():
            scores[name] = reward(attempt)
            if scores[name].value == 0:
                return Score(0.0, _parts(scores), _why({name: scores[name]}))
        return _ungraded(scores) or Score(math.prod(s.value for s in scores.values()), _parts(scores), _why(scores))

    def check_task(self, task: Task, /) -> None:
        """Raises what a member raises."""
        for reward in self.rewards.values():
            check_task(reward, task)


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Σ weight · value over the members; ungraded as soon as a member with a weight other than 0 is.

    A member of weight 0 is judged and logged and changes nothing: a metric.
    """

    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    """By the members' names, one for each."""

    def __post_init__(self) -> None:
        _check_members(self, self.rewards)
        for name, weight in self.weights.items():
            if name not in self.rewards:
                raise ConfigError(f"WeightedSum: {unknown('member', name, self.rewards)}")
            if not math.isfinite(weight):
                raise ConfigError(f"WeightedSum: the weight of {name!r} is {weight}; it must be a finite number")
        if missing := self.rewards.keys() - self.weights.keys():
            raise ConfigError(f"WeightedSum: no weight for {', '.join(sorted(missing))}")

    def __call__(self, attempt: Attempt, /) -> Score:
        """The sum for `attempt`."""
        scores = {name: reward(attempt) for name, reward in self.rewards.items()}
        counting = {name: score for name, score in scores.items() if self.weights[name] != 0}
        if (failed := _ungraded(counting)) is not None:
            return failed
        value = math.fsum(self.weights[name] * score.value for name, score in counting.items())
        return Score(value, _parts(scores), _why(scores))

    def check_task(self, task: Task, /) -> None:
        """Raises what a member raises."""
        for reward in self.rewards.values():
            check_task(reward, task)


@dataclass(frozen=True, slots=True)
class FirstThatApplies:
    """The first member whose `check_task` accepts the task judges it: one reward for a mixed set of tasks.

    An ungraded verdict stands. It does not pass to the next member, or a time-out would be judged by another measure.
    """

    rewards: Mapping[str, Reward]

    def __post_init__(self) -> None:
        _check_members(self, self.rewards)

    def __call__(self, attempt: Attempt, /) -> Score:
        """That member's score, its status included. Raises `TaskError` if none applies."""
        name = self._applying(attempt.task)
        score = self.rewards[name](attempt)
        return Score(score.value, _parts({name: score}), _why({name: score}), score.status)

    def check_task(self, task: Task, /) -> None:
        """Raises `TaskError`, with each member's reason, if none applies."""
        self._applying(task)

    def _applying(self, task: Task) -> str:
        reasons = []
        for name, reward in self.rewards.items():
            try:
                check_task(reward, task)
            except TaskError as error:
                reasons.append(f"{name}: {error}")
            else:
                return name
        raise TaskError(f"no reward applies to task {task.id!r} ({'; '.join(reasons)})")


def _check_members(owner: object, rewards: Mapping[str, Reward]) -> None:
    if not rewards:
        raise ConfigError(f"{type(owner).__name__} needs at least one reward")


def _parts(scores: Mapping[str, Score]) -> dict[str, float]:
    parts = {}
    for name, score in scores.items():
        if score.graded:
            parts[name] = score.value
            parts.update({f"{name}.{part}": value for part, value in score.parts.items()})
    return parts


def _why(scores: Mapping[str, Score]) -> str:
    return "; ".join(f"{name}: {score.why or score.status}" for name, score in scores.items())


def _ungraded(scores: Mapping[str, Score]) -> Score | None:
    """The ungraded score of the whole, if a member is ungraded: with the reason and the status of the first."""
    for name, score in scores.items():
        if not score.graded:
            return Score(math.nan, _parts(scores), _why({name: score}), score.status)
    return None
