"""``stepgym/Guided-v0``: several attempts at one problem; help enters the context only after failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepgym.envs.task_set import TaskSource
from stepgym.envs.text import Outcome, TextEnv
from stepgym.errors import ConfigError
from stepgym.records import Stop, Task
from stepgym.rewards import Reward
from stepgym.tasks.helped import Help, check_help, help_kind, with_help, with_template

PLAIN = "{prompt}"
"""The template of the problem alone."""

SUCCESS = 1.0
"""An attempt succeeds from this value on."""


class GuidedEnv(TextEnv):
    """Each action is a whole attempt at the problem, judged at once. The first that succeeds ends the episode.

    The observation is the problem alone until `failures` attempts have failed, and the helped problem from then on:
    with the task's hint (Guide, arXiv 2506.13923) or its sub-questions (the guided rollouts of A2D's reasoner, arXiv
    2602.00759, section 2.3). Earlier attempts are not shown: as in those methods, attempts are independent samples.
    An attempt succeeds from the value 1 on (`SUCCESS`); after `max_steps` without success the episode is truncated.

    Beside what every environment tells, `info` has

    - ``helped``: whether the observation just returned, so the context of the next attempt, shows help;
    - ``context``: the context of the attempt just judged, "plain" or "helped" (from `step` only).

    The latter is also in ``score.parts``, as ``helped`` 0 or 1, and so in trajectories.
    """

    def __init__(
        self,
        tasks: TaskSource = "arithmetic",
        *,
        help: Help | str = Help.HINT,
        failures: int = 1,
        reward: Reward | str = "math",
        max_steps: int = 4,
        max_characters: int = 262_144,
        template: str = PLAIN,
        helped_template: str | None = None,
    ) -> None:
        """As `TextEnv`; `help` is "hint" or "subquestions", and the templates are those of `stepgym.tasks.helped`.

        `helped_template` is the usual one of that kind of help unless given. Raises `TaskError` too, for the first task
        that has no such help, with the command that makes it.
        """
        super().__init__(tasks, reward=reward, max_steps=max_steps, max_characters=max_characters)
        if not 0 <= failures < max_steps:
            raise ConfigError(f"failures must lie between 0 and max_steps - 1 = {max_steps - 1}, got {failures}")
        self.help = help_kind(help)
        self.failures = failures
        self.template = template
        self.helped_template = helped_template
        check_help(self.tasks, self.help)
        self._prepare(self.tasks[0])  # an unfit template is refused here

    @property
    def helped(self) -> bool:
        """Whether the observation, so the context of the next attempt, shows help."""
        return self._failed >= self.failures

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """As `TextEnv`. Raises `TaskError` too, for a task of `options` that has no help."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, info | {"helped": self.helped}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """As `TextEnv`, with the contexts in `info`."""
        context = "helped" if self.helped else "plain"
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info | {"context": context, "helped": self.helped}

    def begin(self) -> str:
        """The problem alone, unless help is due from the start."""
        self._prepare(self.task)
        return self._context

    def advance(self, action: str) -> Outcome:
        """Judge an attempt; count it if it failed."""
        verdict = self.judge(action)
        score = replace(verdict, parts={**verdict.parts, "helped": float(self.helped)})
        if score.value >= SUCCESS:
            return Outcome(self._context, score, Stop.ANSWERED)
        self._failed += score.graded
        return Outcome(self._context, score)

    def may_block(self, action: str | None) -> bool:
        """Every attempt is judged."""
        return action is not None

    @property
    def _context(self) -> str:
        return self._helped if self.helped else self._plain

    def _prepare(self, task: Task) -> None:
        self._plain = with_template(task, self.template).prompt
        self._helped = with_help(task, self.help, self.helped_template).prompt
        self._failed = 0
