"""What a warm start imitates: easy problems as they are, and harder ones with help in the prompt.

It teaches a model to follow help, and to solve easy problems alone; of the hard level it never sees a solution without
help. Written to a file, from which the arms rehearse too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from stepgym.records import Task
from stepgym.store import write_whole
from stepgym.tasks import load
from stepgym.tasks.expert_steps import joined
from stepgym.tasks.helped import DIVERSITY, with_hint, with_subquestions, with_template
from stepgym.tasks.subquestions import format_subquestions

if TYPE_CHECKING:
    from stepgym.trainers.studies.study import Problem

DECOMPOSE = "{prompt}\nSub-questions?\n"
"""What the decomposer is asked; short, for a model that reads characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How many tasks of each kind are imitated. All are drawn equally often, so these are shares too."""

    plain: int = 1500
    """Easy levels, as they are."""
    worded: int = 0
    """Easy levels under A2D's diversity prompt."""
    hinted: int = 0
    """Easy and hard levels with a hint."""
    coarse: int = 0
    """Easy and hard levels with sub-questions."""
    worked: int = 0
    """Easy and hard levels with worked steps in the place of sub-questions."""
    guessed: int = 0
    """The hard level as it is, with solutions of the right form whose digits are guessed."""
    decomposed: int = 0
    """Decompositions of the hard level: one half into sub-questions, one half into worked steps."""

    def small(self) -> Mix:
        """A few of each kind that there is any of."""
        return Mix(**{f.name: min(4, getattr(self, f.name)) for f in fields(self)})


def write_material(path: Path, mix: Mix, problem: Problem) -> None:
    """Write the tasks to a file. The same arguments make the same file."""
    write_whole(path, "".join(task.to_json() + "\n" for task in material(mix, problem)))


def write_helped(path: Path, problem: Problem) -> None:
    """Write the hard problems that arms learn from, with their sub-questions in the prompt."""
    tasks = load(problem.source(problem.hard, problem.train, "train"))
    write_whole(path, "".join(with_subquestions(task).to_json() + "\n" for task in tasks))


def material(mix: Mix, problem: Problem) -> list[Task]:
    """The tasks, each with an id of its own. None of them is a held-out problem."""
    easy, hard = problem.easy, (problem.hard,)
    both = (*easy, *hard)
    return [
        *_named("plain", _draw(problem, easy, mix.plain)),
        *_named("worded", (with_template(task, DIVERSITY) for task in _draw(problem, easy, mix.worded))),
        *_named("hinted", map(with_hint, _draw(problem, both, mix.hinted))),
        *_named("coarse", map(with_subquestions, _draw(problem, both, mix.coarse))),
        *_named("worked", (with_subquestions(fully(task)) for task in _draw(problem, both, mix.worked))),
        *_named("guessed", _guesses(_draw(problem, hard, mix.guessed))),
        *_named("decomposed", map(_decomposed, _draw(problem, hard, mix.decomposed), cycle((False, True)))),
    ]


def fully(task: Task) -> Task:
    """With its worked steps as sub-questions: the whole solution, given away."""
    return replace(task, subquestions=task.steps[:-1])


def _draw(problem: Problem, levels: Sequence[int], count: int) -> Iterator[Task]:
    """`count` tasks, as many of each level: those of a level that has few come up again."""
    if not count:
        return iter(())
    sources = [cycle(load(problem.source(level, count, "train", seed=WARM))) for level in levels]
    return islice((next(source) for source in cycle(sources)), count)


WARM = 1
"""The seed of the problems drawn here: others than the arms learn from, but for chance."""


def _named(kind: str, tasks: Iterator[Task]) -> Iterator[Task]:
    for number, task in enumerate(tasks):
        yield replace(task, id=f"{kind}-{number}-{task.id}")


def _decomposed(task: Task, whole: bool) -> Task:
    reply = format_subquestions(task.steps[:-1] if whole else task.subquestions)
    return replace(with_template(task, DECOMPOSE), steps=(reply,))


def _guesses(tasks: Iterator[Task]) -> Iterator[Task]:
    """Each with the solution of another problem of its length."""
    rng = random.Random(0)
    chosen = list(tasks)
    for task, other in zip(chosen, rng.sample(chosen, len(chosen)), strict=True):
        yield replace(task, steps=(joined(other, other.steps),), answer=other.answer)
