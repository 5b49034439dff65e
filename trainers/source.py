"""What an engine gives a recipe in one step: the part that all engines share, and the local one's."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stepgym.agents.batching import Chat
from stepgym.errors import ConfigError, TaskError
from stepgym.records import Message, Role, Task, Trajectory
from stepgym.tasks.expert_steps import joined
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.openings import Openings
from stepgym.trainers.recipe import Group
from stepgym.trainers.samples import Sample, Term, demonstration
from stepgym.trainers.stage import Stage

if TYPE_CHECKING:
    from stepgym.trainers.local import LocalEngine


class Deck:
    """Tasks dealt in an order that the seed decides: all come up once before any comes up again."""

    def __init__(self, tasks: Sequence[Task], seed: str) -> None:
        self._tasks, self._rng = tasks, random.Random(seed)
        self._left: list[Task] = []

    def draw(self, count: int) -> list[Task]:
        """The next `count`."""
        drawn: list[Task] = []
        while len(drawn) < count:
            if not self._left:
                self._left = self._rng.sample(self._tasks, len(self._tasks))
            drawn.append(self._left.pop())
        return drawn


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads, and how much."""

    chat: Callable[[Chat], tuple[int, ...]]
    """The tokens of a chat, ready for the reply."""
    text: Callable[[str], Sequence[int]]
    """The tokens of a text as it stands in a reply."""
    end: int
    """The token that ends a reply."""
    context: int
    """Most tokens it reads at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the steps of a run have in common."""

    config: TrainConfig
    tasks: Sequence[Task]
    """What is drawn from."""
    rehearsal: Sequence[Task]
    training: Stage
    evaluation: Stage
    reading: Reading
    openings: Openings


class SeededSource(ABC):
    """A `Source` of one step whose chance depends on the seed, the step, and how often it was asked."""

    def __init__(self, setting: Setting, step: int) -> None:
        self.setting = setting
        self.seed = f"{setting.config.seed}/{step}"
        self.deck = Deck(setting.tasks, f"{self.seed}/draw")
        self.plays = 0
        self.sampled_tokens = 0
        """Of all replies so far."""
        self.ungraded_why = ""
        """Why the first attempt could not be graded that could not."""

    @abstractmethod
    def play_groups(self, tasks: Sequence[Task], copies: int, *, seed: str) -> list[Group]:
        """`copies` episodes of each task with the model as it is."""

    @abstractmethod
    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model as it is."""

    @abstractmethod
    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model that the run started from."""

    @abstractmethod
    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects."""

    def draw(self, count: int) -> list[Task]:
        """All tasks come up once before any comes up again."""
        return self.deck.draw(count)

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        """Episodes with the model as it is."""
        self.plays += 1
        groups = self.play_groups(tasks, copies, seed=f"{self.seed}/play/{self.plays}")
        played = [trajectory for group in groups for trajectory in group.trajectories]
        self.sampled_tokens += sum(len(step.reply.tokens) for trajectory in played for step in trajectory.steps)
        self.ungraded_why = self.ungraded_why or next(filter(None, map(why_ungraded, played)), "")
        return groups

    def context(self, task: Task) -> tuple[int, ...]:
        """The tokens of the first observation."""
        return self.setting.openings.tokens(task, self.setting.training)

    def demonstrate(self, task: Task) -> Sample:
        """The expert steps as one reply, with its end."""
        context = self.setting.openings.tokens(task, self.setting.evaluation)
        return self._shown(task, context, Term.IMITATION)

    def rehearse(self) -> list[Sample]:
        """Demonstrations of what is not to be forgotten, each after its prompt as it stands."""
        config, tasks = self.setting.config, self.setting.rehearsal
        drawn = Deck(tasks, f"{self.seed}/rehearse").draw(config.rehearsed if tasks else 0)
        contexts = [self.setting.reading.chat([Message(Role.USER, task.prompt)]) for task in drawn]
        shown = [self._shown(task, context, Term.REHEARSAL) for context, task in zip(contexts, drawn, strict=True)]
        return [replace(sample, weight=config.rehearsal) for sample in shown]

    def _shown(self, task: Task, context: Sequence[int], term: Term) -> Sample:
        reading = self.setting.reading
        sample = demonstration(context, [*reading.text(joined(task, task.steps)), reading.end], term=term)
        if sample.length > reading.context:
            raise TaskError(
                f"task {task.id!r}: problem and solution have {sample.length} tokens together, more than the model's "
                f"context of {reading.context}; leave it out, or choose a model with a larger context"
            )
        return sample


class StepSource(SeededSource):
    """The local engine's."""

    def __init__(self, engine: LocalEngine, step: int) -> None:
        super().__init__(engine.setting, step)
        self.engine = engine

    def play_groups(self, tasks: Sequence[Task], copies: int, *, seed: str) -> list[Group]:
        """In this process."""
        return self.engine.table.play(tasks, copies, self.engine.training, seed=seed)

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model as it is."""
        return self.engine.learner.logprobs(samples, self.engine.backbone.model)

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model that the run started from."""
        return self.engine.learner.logprobs(samples, self.engine.first_backbone.model)

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects."""
        return self.engine.learner.values(samples)


def seeds_of(seed: str, count: int) -> list[int]:
    """For each episode of a play."""
    rng = random.Random(seed)
    return [rng.getrandbits(31) for _ in range(count)]


def check_lengths(samples: Sequence[Sample], context: int) -> None:
    """Raises `ConfigError` for what a model of this `context` cannot read at once.

    What it sampled it can read; but a recipe may train it in another, longer prompt.
    """
    longest = max((sample.length for sample in samples), default=0)
    if longest > context:
        raise ConfigError(
            f"a sample to learn from has {longest} tokens, more than the model's context of {context}; "
            "set a smaller max_tokens, choose shorter tasks, or a model with a larger context"
        )


def why_ungraded(trajectory: Trajectory) -> str:
    """Why it could not be graded; empty if it could."""
    if trajectory.graded:
        return ""
    broken = (step.score for step in trajectory.steps if not step.score.graded)
    return trajectory.error or next((score.why for score in broken if score.why), "no reason was given")
