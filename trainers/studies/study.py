"""What a study is: a question, the arms that are compared, and the claims that the runs decide. No torch.

All arms of a seed start from the same warm start and are measured on the same problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from stepgym.errors import ConfigError
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.studies.material import Mix

if TYPE_CHECKING:
    from stepgym.trainers.studies.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is to be learned, and what must not be forgotten; how many problems are learned from and measured on."""

    family: str = "addition"
    hard: int = 3
    """The level to learn."""
    easy: tuple[int, ...] = (1, 2)
    """The levels that the warm start solves."""
    train: int = 2000
    """Hard problems to learn from."""
    curve: int = 100
    """Held-out hard problems, solved greedily while a run learns."""
    measured: int = 200
    """The same when it is over, and as many of each easy level."""
    sampled: int = 100
    """Held-out hard problems that are attempted several times when it is over."""
    samples: int = 16
    """How often each of them."""
    start_samples: int = 64
    """How often by the model that the run started from."""

    def source(self, level: int, count: int, split: str, seed: int = 0) -> str:
        """A task set of a level; of the lowest level there are not many."""
        supply = 10 ** (2 * level) * (6 if split == "train" else 1) // 10
        return f"{self.family}?level={level}&count={min(count, supply)}&split={split}&seed={seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A warm start: what a model learns before the arms go their ways."""

    name: str = "start"
    mix: Mix = field(default_factory=Mix)
    """What it imitates."""
    training: TrainConfig
    """How; the task set is the mix's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to learn, compared with the others."""

    name: str
    about: str
    """What it stands for."""
    stages: tuple[TrainConfig, ...]
    """Training runs, each from the end of the one before. Tasks, model to start from, folder and seed are the study's;
    with ``rehearsal`` above 0 the warm start's material is rehearsed."""
    start: str = "start"
    """The warm start that the first stage goes on from."""
    helped: bool = False
    """Learns from problems that always have their sub-questions in the prompt."""
    factors: tuple[tuple[str, str], ...] = ()
    """What sets it apart, as pairs of a factor's name and level, where arms are crossed."""
    measure: str = "stepgym.trainers.studies.measuring:measure_solver"
    """What measures its model: ``module:function``, called with a checkpoint, a `Problem` and the last stage."""


class Verdict(StrEnum):
    """What the runs say of a claim."""

    HELD = "held"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and the numbers it rests on."""

    verdict: Verdict
    numbers: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that the runs decide."""

    text: str
    check: Callable[[Results], Finding]
    """See `stepgym.trainers.studies.claims`."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of a study's own."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question, and all that is needed to answer it."""

    name: str
    title: str
    hypothesis: str
    problem: Problem = field(default_factory=Problem)
    starts: tuple[Start, ...]
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    columns: tuple[str, ...] = ("greedy", "average", "pass@8", "pass@16", "kept")
    """The measures in its table."""
    plotted: str = "greedy"
    """The measure that is drawn as bars, a share; arms without it are not drawn."""
    sheets: Callable[[Results], Sequence[Sheet]] | None = None
    """Further tables."""
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms] + [start.name for start in self.starts]
        if len(set(names)) < len(names) or not self.arms:
            raise ConfigError(f"study {self.name}: arms and warm starts need names of their own, got {names}")
        for arm in self.arms:
            if arm.start not in [start.name for start in self.starts] or not arm.stages:
                raise ConfigError(f"study {self.name}: arm {arm.name} needs stages, and a warm start that there is")

    def smoke(self) -> Study:
        """The same study so small that nothing is learned: to see that everything runs.

        Of arms that are crossed, only so many stay that every level of every factor occurs.
        """
        problem = replace(self.problem, train=64, curve=4, measured=4, sampled=4, samples=2, start_samples=4)
        starts = (replace(s, training=small(s.training), mix=s.mix.small()) for s in self.starts)
        arms = (replace(arm, stages=tuple(map(small, arm.stages))) for arm in covering(self.arms))
        title = f"{self.title} (smoke: nothing is learned)"
        return replace(self, title=title, problem=problem, starts=tuple(starts), arms=tuple(arms))


def covering(arms: Sequence[Arm]) -> list[Arm]:
    """All arms that are not crossed, and of the crossed ones those that bring a level not seen before."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for arm in arms:
        if not arm.factors or not seen.issuperset(arm.factors):
            kept.append(arm)
            seen.update(arm.factors)
    return kept


def small(training: TrainConfig) -> TrainConfig:
    """The same run over two steps of a few attempts."""
    sizes = ("tasks=4",) if training.recipe == "sft" else ("tasks=2", "group=2")
    kept = [setting for setting in training.settings if setting.split("=")[0] not in ("tasks", "group")]
    return replace(training, settings=(*kept, *sizes), steps=2, evaluate_every=2, target=None, rehearsed=2)


def stage(recipe: str, *settings: str, steps: int, **more: object) -> TrainConfig:
    """A stage of an arm: a recipe with its settings, and what else of `TrainConfig` differs from the default."""
    usual: dict[str, object] = {"warmup": 5, "cooldown": 15, "evaluate_every": 5, "max_tokens": 64}
    return TrainConfig(recipe=recipe, settings=settings, steps=steps, **usual | more)  # type: ignore[arg-type]
