"""Groups for a step: played, sifted, and drawn again where they teach nothing. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from stepgym.records import Score
from stepgym.trainers.recipe import Group, Source


@dataclass(frozen=True, slots=True)
class Played:
    """The groups of a step."""

    groups: tuple[Group, ...]
    """All that were played."""
    useful: tuple[Group, ...]
    """Those to learn from."""


def play_groups(source: Source, *, tasks: int, copies: int, rounds: int, useful: Callable[[Group], bool]) -> Played:
    """Play `tasks` tasks, and up to `rounds` - 1 times others in place of groups that are not `useful`.

    DAPO's dynamic sampling (Yu et al. 2025, arXiv 2503.14476, section 3.2).
    """
    played: list[Group] = []
    kept: list[Group] = []
    for _ in range(rounds):
        groups = source.play(source.draw(tasks - len(kept)), copies)
        played += groups
        kept += [group for group in groups if useful(group)]
        if len(kept) == tasks:
            break
    return Played(tuple(played), tuple(kept))


def measure(played: Played) -> Mapping[str, float]:
    """What the log says of a step's attempts. Means are over graded attempts, and NaN if there is none."""
    graded = [trajectory for group in played.groups for trajectory in group.trajectories if trajectory.graded]
    steps = [step for trajectory in graded for step in trajectory.steps]
    replies = [step.reply for step in steps]
    return {
        "reward": mean([trajectory.reward for trajectory in graded]),
        "groups": len(played.groups),
        "useful_groups": len(played.useful),
        "ungraded": ungraded(played.groups),
        "reply_tokens": mean([len(reply.tokens) for reply in replies]),
        "cut_replies": mean([not reply.finished for reply in replies]),
        "empty_replies": mean([not reply.text.strip() for reply in replies]),
        **measure_parts([step.score for step in steps]),
    }


def measure_parts(scores: Sequence[Score]) -> Mapping[str, float]:
    """The mean of each part of the scores, over those that have it: similarity, format, and whatever a reward logs."""
    names = sorted({name for score in scores for name in score.parts})
    return {f"part_{name}": mean([score.parts[name] for score in scores if name in score.parts]) for name in names}


def measure_guided(groups: Sequence[Group]) -> Mapping[str, float]:
    """What it says of all attempts that were shown help, learned from or not."""
    return {
        "guided_reward": mean([reward for group in groups for reward in group.graded]),
        "guided_ungraded": ungraded(groups),
    }


def ungraded(groups: Sequence[Group]) -> int:
    """How many attempts could not be graded."""
    return sum(len(group.trajectories) - len(group.graded) for group in groups)


def mean(values: Sequence[float]) -> float:
    """NaN if there are none."""
    return fmean(values) if values else math.nan
