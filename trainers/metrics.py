"""What a run measures: one line a step in ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Self

from stepgym.codec import decode
from stepgym.records import Trajectory
from stepgym.store import read_lines
from stepgym.trainers.learner import Update


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Greedy attempts at the held-out tasks, one each."""

    reward: float
    """Mean over those that could be graded; NaN if there is none."""
    graded: int
    ungraded: int

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory]) -> Self:
        """What these attempts came to."""
        rewards = [trajectory.reward for trajectory in trajectories if trajectory.graded]
        reward = fmean(rewards) if rewards else math.nan
        return cls(reward=reward, graded=len(rewards), ungraded=len(trajectories) - len(rewards))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step. Step 0 is the model before training, and has nothing but an evaluation."""

    step: int
    measures: Mapping[str, float] = field(default_factory=dict)
    """What the recipe said of the samples it gathered."""
    update: Update | None = None
    """None if there was nothing to learn from."""
    ungraded_why: str = ""
    """Why the first attempt could not be graded that could not."""
    sampled_tokens: int = 0
    """Tokens of all replies that were sampled to learn from."""
    gather_seconds: float = 0.0
    """Wall time of sampling and grading."""
    learn_seconds: float = 0.0
    """Wall time of the optimiser updates."""
    held_out: HeldOut | None = None
    """Where the step ended with an evaluation."""

    @property
    def sampled_per_second(self) -> float:
        """Tokens sampled in a second of gathering, which includes environments and graders; 0 if none were."""
        return self.sampled_tokens / self.gather_seconds if self.gather_seconds else 0.0

    @property
    def trained_per_second(self) -> float:
        """Tokens gone through in a second of learning; 0 if none were."""
        passed = self.update.tokens * self.update.passes if self.update is not None else 0
        return passed / self.learn_seconds if self.learn_seconds else 0.0


def note(record: StepRecord) -> str:
    """What the progress bar says."""
    parts = [f"reward {record.measures['reward']:.3f}"] if "reward" in record.measures else []
    parts.append(f"loss {record.update.loss:.4f}" if record.update else "nothing to learn from")
    parts += [f"{record.sampled_per_second:,.0f} tokens/s sampled"] if record.sampled_tokens else []
    parts += [f"{record.trained_per_second:,.0f} trained"] if record.update else []
    return ", ".join(parts)


def read_metrics(path: Path) -> list[StepRecord]:
    """The records of a run by step. Raises `StoreError` or `ConfigError` for a damaged file.

    After a kill, the steps since the last checkpoint are done again and stand in the file twice, with the same numbers.
    """
    by_step: dict[int, StepRecord] = {}
    for number, line in enumerate(read_lines(path), start=1):
        record = decode(StepRecord, line, where=f"{path}:{number}")
        by_step[record.step] = record
    return [by_step[step] for step in sorted(by_step)]
