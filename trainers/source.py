"""What the local engine gives a recipe in one step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stepgym.errors import TaskError
from stepgym.records import Message, Role, Task, Trajectory
from stepgym.tasks.expert_steps import joined
from stepgym.trainers.recipe import Group
from stepgym.trainers.samples import Sample, Term, demonstration

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


class StepSource:
    """The `Source` of one step. Its chance depends on the seed, the step, and how often it was asked."""

    def __init__(self, engine: LocalEngine, step: int) -> None:
        self.engine = engine
        self.seed = f"{engine.config.seed}/{step}"
        self.deck = Deck(engine.tasks, f"{self.seed}/draw")
        self.plays = 0
        self.sampled_tokens = 0
        """Of all replies so far."""
        self.ungraded_why = ""
        """Why the first attempt could not be graded that could not."""

    def draw(self, count: int) -> list[Task]:
        """All tasks come up once before any comes up again."""
        return self.deck.draw(count)

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        """Episodes with the model as it is."""
        self.plays += 1
        groups = self.engine.table.play(tasks, copies, self.engine.training, seed=f"{self.seed}/play/{self.plays}")
        played = [trajectory for group in groups for trajectory in group.trajectories]
        self.sampled_tokens += sum(len(step.reply.tokens) for trajectory in played for step in trajectory.steps)
        self.ungraded_why = self.ungraded_why or next(filter(None, map(why_ungraded, played)), "")
        return groups

    def context(self, task: Task) -> tuple[int, ...]:
        """The tokens of the first observation."""
        return self.engine.table.context(task, self.engine.training)

    def demonstrate(self, task: Task) -> Sample:
        """The expert steps as one reply, with its end."""
        return self._shown(task, self.engine.table.context(task, self.engine.evaluation), Term.IMITATION)

    def rehearse(self) -> list[Sample]:
        """Demonstrations of what is not to be forgotten, each after its prompt as it stands."""
        config, tasks = self.engine.config, self.engine.rehearsal
        drawn = Deck(tasks, f"{self.seed}/rehearse").draw(config.rehearsed if tasks else 0)
        contexts = [self.engine.policy.encode([Message(Role.USER, task.prompt)]) for task in drawn]
        shown = [self._shown(task, context, Term.REHEARSAL) for context, task in zip(contexts, drawn, strict=True)]
        return [replace(sample, weight=config.rehearsal) for sample in shown]

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model as it is."""
        return self.engine.learner.logprobs(samples, self.engine.backbone.model)

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model that the run started from."""
        return self.engine.learner.logprobs(samples, self.engine.first_backbone.model)

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects."""
        return self.engine.learner.values(samples)

    def _shown(self, task: Task, context: Sequence[int], term: Term) -> Sample:
        backbone = self.engine.backbone
        sample = demonstration(context, [*backbone.encode(joined(task, task.steps)), backbone.end], term=term)
        if sample.length > backbone.context:
            raise TaskError(
                f"task {task.id!r}: problem and solution have {sample.length} tokens together, more than the model's "
                f"context of {backbone.context}; leave it out, or choose a model with a larger context"
            )
        return sample


def why_ungraded(trajectory: Trajectory) -> str:
    """Why it could not be graded; empty if it could."""
    if trajectory.graded:
        return ""
    broken = (step.score for step in trajectory.steps if not step.score.graded)
    return trajectory.error or next((score.why for score in broken if score.why), "no reason was given")
