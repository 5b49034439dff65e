"""``stepgym/Decompose-v0``: break a problem into sub-questions; a frozen solver's success with them is the reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from stepgym.envs.calculator import CalculatorSolver
from stepgym.envs.solver import Solver
from stepgym.envs.task_set import TaskSource
from stepgym.envs.text import Outcome, TextEnv
from stepgym.errors import ConfigError, RewardError
from stepgym.records import Attempt, Score, Status, Stop
from stepgym.rewards import PassAtK, Reward
from stepgym.tasks.helped import SUBQUESTIONS, with_subquestions, with_template
from stepgym.tasks.subquestions import DECOMPOSE, parse_subquestions, subquestions_fault


class DecomposeEnv(TextEnv):
    """One action: the sub-questions of a problem, each begun with ``<subquestion>``. A2D's decomposer is trained in it.

    Source: arXiv 2602.00759, section 2.2 and appendix 7.

    The reward is format × quality, each 0 or 1. The format is the paper's (`subquestions_fault`); where it is broken
    the solver is not asked. The quality is 1 if at least one of `tries` solutions passes `reward`: the solver's
    solutions of the problem with the sub-questions in its prompt. The paper does not disclose its number of tries. With
    ``k=1`` the quality is pass@1 instead, estimated without bias from the same tries (and ``k`` in general pass@k): the
    ablation in which decomposers learn to write whole solutions.

    ``score.parts`` has ``format``, ``quality``, the number of ``subquestions``, and of the solver's solutions how many
    are ``samples``, ``graded`` and ``passed``. If the solver cannot be asked, the step is ungraded.

    Wrap a solver that costs something in a `CachedSolver`, and give the same one to all environments: each content is
    then solved once.
    """

    def __init__(
        self,
        tasks: TaskSource = "arithmetic",
        *,
        solver: Solver | None = None,
        tries: int = 4,
        k: int | None = None,
        reward: Reward | str = "math",
        max_characters: int = 32_768,
        template: str = DECOMPOSE,
        helped_template: str = SUBQUESTIONS,
    ) -> None:
        """As `TextEnv`. Raises `ConfigError` too.

        `solver` is a `CalculatorSolver` unless given: it can do sums. `template` makes the problem what the decomposer
        sees, and `helped_template` the problem and its sub-questions what the solver sees (`stepgym.tasks.helped`).
        """
        super().__init__(tasks, reward=reward, max_steps=1, max_characters=max_characters)
        if tries < 1:
            raise ConfigError(f"tries must be at least 1, got {tries}")
        if solver is not None and not callable(solver):
            raise ConfigError(f"solver must be a Solver, got {type(solver).__name__}")
        if k is not None and not 1 <= k <= tries:
            raise ConfigError(f"k must lie between 1 and tries = {tries}, got {k}")
        self.solver: Solver = CalculatorSolver() if solver is None else solver
        self.tries = tries
        self.k = k
        self.template = template
        self.helped_template = helped_template
        with_subquestions(replace(with_template(self.tasks[0], template), subquestions=("?",)), helped_template)

    def begin(self) -> str:
        """The problem, as the decomposer is asked."""
        return with_template(self.task, self.template).prompt

    def advance(self, action: str) -> Outcome:
        """Judge the sub-questions."""
        return Outcome(self.begin(), self._judged(action), Stop.ANSWERED)

    def may_block(self, action: str | None) -> bool:
        """The solver and the verifier are asked where the format is kept."""
        return action is not None and not subquestions_fault(action)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self.solver)] = self.solver  # frozen: copies ask the same one
        return super().__deepcopy__(memo)

    def _judged(self, text: str) -> Score:
        if fault := subquestions_fault(text):
            return Score(0.0, {"format": 0.0}, fault, Status.UNPARSABLE)
        quality = PassAtK(self.reward, self._solutions, k=self.k)(Attempt(task=self.task, text=text))
        parts = {"format": 1.0, "subquestions": float(len(parse_subquestions(text))), **quality.parts}
        if quality.graded:
            parts["quality"] = quality.value
        return replace(quality, parts=parts)

    def _solutions(self, attempt: Attempt) -> Sequence[Attempt]:
        decomposed = replace(self.task, subquestions=parse_subquestions(attempt.text))
        helped = with_subquestions(decomposed, self.helped_template)
        texts = self.solver(helped, self.tries)
        if len(texts) != self.tries:
            raise RewardError(f"the solver gave {len(texts)} solutions of task {self.task.id!r}, not {self.tries}")
        return [Attempt(task=self.task, text=text) for text in texts]
