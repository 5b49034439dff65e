"""The base of every environment: text in, text out, one task an episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

import gymnasium
from gymnasium.error import ResetNeeded

from stepgym.envs import shared_texts  # noqa: F401 - AsyncVectorEnv finds it by the type of the space
from stepgym.envs.space import MAX_LENGTH, TextSpace
from stepgym.envs.task_set import TaskSource, check_tasks, task_by_id
from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.records import Attempt, Score, Status, Stop, Task
from stepgym.registry import unknown
from stepgym.rewards import REWARDS, Reward, check_task
from stepgym.tasks import load

TRUNCATED = frozenset({Stop.STEP_LIMIT, Stop.CHARACTER_LIMIT, Stop.TIME_LIMIT, Stop.UNGRADED})
"""The ends that lie outside the task: a budget ran out, or no verdict could be reached."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one action led to."""

    observation: str
    """What the agent sees next."""
    score: Score
    """What the action earned. An ungraded score ends the episode."""
    stop: Stop | None = None
    """Why the episode is over; None if it goes on."""


class TextEnv(gymnasium.Env[str, str], ABC):
    """A Gymnasium environment whose observations and actions are text. Authors write `begin` and `advance`.

    Written here, once: choosing the task, budgets, `info`, seeding, and the rule that what could not be graded earns
    NaN and never 0. What a caller finds in `info`:

    - ``task``: the task's id, from `reset` and from every `step`;
    - ``score``: the `Score` of the step; its value is the reward;
    - ``stop``: the `Stop`, in the last step of an episode;
    - ``ungraded``: why the last step could not be judged. Its reward is NaN, and it is truncated, not terminated.

    `reset` draws a task with ``np_random``, or takes ``options={"task": …}``: a `Task`, or the id of one of ``tasks``.
    An action that exceeds the character budget is not applied: the episode ends with reward 0 (`Stop.CHARACTER_LIMIT`),
    however good it was. Stepping before `reset` or after the end raises `gymnasium.error.ResetNeeded`.
    """

    def __init__(
        self,
        tasks: TaskSource = "arithmetic",
        *,
        reward: Reward | str = "math",
        max_steps: int = 16,
        max_characters: int = 262_144,
    ) -> None:
        """Prepare the tasks; nothing is begun before `reset`.

        `tasks` is a set's name, a file's path, or the tasks themselves; `reward` a `Reward`, or the name of one.
        An episode has at most `max_steps` actions of `max_characters` characters in all. Raises `TaskError` for tasks
        that cannot be loaded or that the reward could never judge, and `ConfigError` for a budget below 1.
        """
        for name, budget in (("max_steps", max_steps), ("max_characters", max_characters)):
            if budget < 1:
                raise ConfigError(f"{name} must be at least 1, got {budget}")
        longest = max(MAX_LENGTH, 2 * max_characters)  # an observation may hold everything said so far, and the task
        self.observation_space = TextSpace(longest)
        self.action_space = TextSpace(longest)
        self.reward: Reward = REWARDS.make(reward) if isinstance(reward, str) else reward
        if not callable(self.reward):
            raise ConfigError(f"reward must be a Reward or the name of one, got {type(reward).__name__}")
        self.tasks = load(tasks)
        if not self.tasks:
            raise TaskError("an environment needs at least one task, got none")
        check_tasks(self.reward, self.tasks)
        self.max_steps = max_steps
        self.max_characters = max_characters
        self.index = 0
        """Actions taken in this episode; while `advance` runs, the position of its action."""
        self._characters = 0
        self._observation = ""
        self._playing = False

    @abstractmethod
    def begin(self) -> str:
        """Start on ``self.task``: forget the last episode and return the first observation."""

    @abstractmethod
    def advance(self, action: str) -> Outcome:
        """Apply one action. Whatever the agent did wrong is part of the `Outcome`, not an exception."""

    def judge(self, text: str) -> Score:
        """The reward's verdict on `text` as an attempt at the current task. `step` takes care of a `RewardError`."""
        return self.reward(Attempt(task=self.task, text=text, index=self.index))

    def may_block(self, action: str | None) -> bool:  # noqa: ARG002 - for those who override it
        """Whether taking `action` (`reset`, if None) may wait for a grader, a sandbox or a network.

        A hint for `ThreadVectorEnv`, which steps on threads where it pays. Asked before the action is taken.
        """
        return True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode. Raises `UnknownNameError` for an option or a task id there is not, and `TaskError`."""
        super().reset(seed=seed)
        self._playing = False
        self.task: Task = self._choose(options or {})
        self.index = self._characters = 0
        self._observation = self.begin()
        self._playing = True
        return self._observation, {"task": self.task.id}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action. Raises `TypeError` unless it is a `str`, and `gymnasium.error.ResetNeeded`."""
        if not isinstance(action, str):
            raise TypeError(f"an action is a str, got {type(action).__name__}: {action!r:.60}")
        if not self._playing:
            raise ResetNeeded("there is no episode to step: call reset() first, and again after each end")
        outcome = self._advance(action)
        self.index += 1
        self._observation = outcome.observation
        score, stop = outcome.score, outcome.stop
        if stop is None and self.index >= self.max_steps:
            stop = Stop.STEP_LIMIT
        info: dict[str, Any] = {"task": self.task.id, "score": score}
        if not score.graded:
            stop = Stop.UNGRADED
            info["ungraded"] = score.why
        if stop is None:
            return self._observation, score.value, False, False, info
        info["stop"] = stop
        self._playing = False
        truncated = stop in TRUNCATED
        return self._observation, score.value, not truncated, truncated, info

    def close(self) -> None:
        """End the episode, if one is being played. Safe to call twice."""
        self._playing = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Tasks and rewards are immutable: copying an environment in mid-episode (tree search) shares them.
        memo |= {id(shared): shared for shared in (self.tasks, self.reward, self.__dict__.get("task"))}
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update({name: deepcopy(value, memo) for name, value in self.__dict__.items()})
        return copied

    def _advance(self, action: str) -> Outcome:
        self._characters += len(action)
        if self._characters > self.max_characters:
            why = f"over the budget of {self.max_characters} characters"
            return Outcome(self._observation, Score(0.0, why=why, status=Status.UNPARSABLE), Stop.CHARACTER_LIMIT)
        try:
            return self.advance(action)
        except RewardError as error:
            return Outcome(self._observation, Score.ungraded(str(error)))

    def _choose(self, options: dict[str, Any]) -> Task:
        for name in options:
            if name != "task":
                raise unknown("reset option", name, ("task",))
        wanted = options.get("task")
        if wanted is None:
            return self.tasks[int(self.np_random.integers(len(self.tasks)))]
        if isinstance(wanted, str):
            return task_by_id(self.tasks, wanted)
        if not isinstance(wanted, Task):
            raise ConfigError(f"options['task'] must be a Task or a task's id, got {type(wanted).__name__}")
        check_task(self.reward, wanted)
        return wanted
