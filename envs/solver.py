"""The frozen solver that judges decompositions: it is given a problem with sub-questions, and tries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, Self

from stepgym.records import Task

MAX_CACHED = 2**25
"""Characters that a cache holds unless it is told otherwise."""


class Solver(Protocol):
    """Solves a task a number of times over. Callable from any thread, from several at a time.

    Gymnasium copies the keyword arguments of an environment with every look at its spec. So a solver that holds what
    cannot be copied (a lock, a model) has a ``__deepcopy__`` that returns itself.
    """

    def __call__(self, task: Task, tries: int, /) -> Sequence[str]:
        """`tries` independent solutions of ``task.prompt``; of the task it may look at nothing else.

        Raises `stepgym.errors.RewardError` if it cannot be asked: the attempt then stays ungraded.
        """


@dataclass(frozen=True, slots=True)
class _Question:
    """What a solver is asked, and so what its solutions are kept under."""

    prompt: str
    tries: int


class CachedSolver:
    """A solver that is asked once for each content: the same prompt and number of tries get the same solutions.

    Environments that are given the same `CachedSolver` share it. While one thread asks, others with the same question
    wait for its answer. Solutions are kept until they, and the prompts, exceed `max_characters`; then those go first
    that were not asked for longest. What the solver raises reaches everyone who waits, and is not kept.
    """

    def __init__(self, solver: Solver, *, max_characters: int = MAX_CACHED) -> None:
        self.solver = solver
        self.max_characters = max_characters
        self._begin()

    def __call__(self, task: Task, tries: int, /) -> Sequence[str]:
        """The solver's solutions, asked for or remembered. Raises what the solver raises."""
        question = _Question(task.prompt, tries)
        with self._lock:
            if question in self._known:
                self._known.move_to_end(question)
                return self._known[question]
            asked = self._asked.get(question)
            if asked is None:
                mine = self._asked[question] = Future()
        if asked is not None:
            return asked.result()
        try:
            solutions = tuple(self.solver(task, tries))
        except BaseException as error:
            with self._lock:
                del self._asked[question]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._asked[question]
            self._keep(question, solutions)
        mine.set_result(solutions)
        return solutions

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"solver": self.solver, "max_characters": self.max_characters}  # locks and waiting threads stay here

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[_Question, tuple[str, ...]] = OrderedDict()
        self._asked: dict[_Question, Future[tuple[str, ...]]] = {}
        self._characters = 0

    def _keep(self, question: _Question, solutions: tuple[str, ...]) -> None:
        self._known[question] = solutions
        self._characters += _size(question, solutions)
        while self._characters > self.max_characters:
            self._characters -= _size(*self._known.popitem(last=False))


def _size(question: _Question, solutions: tuple[str, ...]) -> int:
    return len(question.prompt) + sum(map(len, solutions))
