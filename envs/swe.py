"""``stepgym/SWE-v0``: a repository with an issue, worked on by shell commands, judged by hidden tests."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from stepgym.envs.swe_actions import EXPECTED, Edit, Malformed, Shell, Submission, parse_action
from stepgym.envs.swe_editor import run_edit
from stepgym.envs.swe_repository import RepositoryEnv, SandboxSource
from stepgym.envs.swe_shown import KEPT_BYTES, left, shown
from stepgym.envs.task_set import TaskSource, check_tasks
from stepgym.envs.text import Outcome
from stepgym.errors import ConfigError, SandboxError
from stepgym.records import Attempt, Score, Stop
from stepgym.rewards import REWARDS, Reward, check_task
from stepgym.sandboxes import ExecResult, Spec

SUBMITTED = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
"""A command whose output begins with this line submits (mini-swe-agent)."""
INSTRUCTIONS = (
    "The repository that this is about lies in {workdir}, and you are in a shell there. Change its source so that the "
    "issue is resolved in general, not for its examples alone. Hidden tests will judge your change; files of tests are "
    "put back as they were before those run, so changing them does not help.\n\n"
    "Each of your actions is one shell command (several may be joined with &&), or one call of a tool. Every command "
    "begins in {workdir} and may take {seconds} seconds; nothing can be typed into it. You see its exit code and what "
    "it printed. When you are done, and nothing is left to do, the command `submit` hands in your changes and ends the "
    "work."
)


class SWEEnv(RepositoryEnv):
    """An action is one shell command or call of the editor (`stepgym.envs.swe_actions`); `submit` ends the episode.

    The observation is the issue and `instructions`, and then the exit code and the output of the last command, bounded
    in the middle, with what is left of the budgets. A malformed action is told what is expected, and counts as one.

    The reward is terminal: that of the diff between the base and what the agent leaves, without files that git ignores.
    By default that is 1 if the hidden tests say so in a fresh sandbox, else 0; any other `Reward` is given the diff as
    the attempt's text. A budget that runs out before the submission ends the episode unjudged, with reward 0
    (`Stop.STEP_LIMIT`, `Stop.TIME_LIMIT`), unless `autosubmit`. With `step_reward`, each command earns that too, such
    as its ``similarity`` to the expert's command at that position (SRL, arXiv 2510.25992); beyond the last of those it
    earns 0.

    ``info["exit_code"]`` is the command's, where one ran.
    """

    def __init__(
        self,
        tasks: TaskSource = "swe-small",
        *,
        sandbox: SandboxSource = "namespace",
        spec: Spec | None = None,
        reward: Reward | str = "swe-tests",
        step_reward: Reward | str | None = None,
        max_steps: int = 100,
        max_characters: int = 1_048_576,
        max_seconds: float = 1800.0,
        command_seconds: float = 60.0,
        bare: bool = True,
        stateful: bool = False,
        autosubmit: bool = False,
        instructions: str = INSTRUCTIONS,
    ) -> None:
        """As `TextEnv`, in a sandbox of the back end `sandbox`, or of a pool, with the limits of `spec`.

        Commands may take `command_seconds` each and `max_seconds` in all. Unless `bare`, an action without a block of
        bash or a call is malformed. With `stateful`, directory and variables last from one command to the next.
        With `autosubmit`, what is there when a budget runs out is judged. `instructions` follow the issue, with
        ``{workdir}`` and ``{seconds}`` filled in; "" shows the issue alone. Raises `ConfigError` and `TaskError`.
        """
        if not (0 < command_seconds < math.inf and 0 < max_seconds < math.inf):
            raise ConfigError(f"commands need time, not {command_seconds:g} seconds each and {max_seconds:g} in all")
        super().__init__(
            tasks, sandbox=sandbox, spec=spec, reward=reward, max_steps=max_steps, max_characters=max_characters
        )
        self.step_reward: Reward | None = REWARDS.make(step_reward) if isinstance(step_reward, str) else step_reward
        if self.step_reward is not None:
            check_tasks(self.step_reward, self.tasks)
        self.max_seconds, self.command_seconds = max_seconds, command_seconds
        self.bare, self.stateful, self.autosubmit = bare, stateful, autosubmit
        self.instructions = instructions
        self._seconds = 0.0
        self._exit_code: int | None = None

    def begin(self) -> str:
        """The issue and the instructions, with the sandbox open."""
        self._seconds, self._exit_code, self._taken = 0.0, None, []
        if self.step_reward is not None:
            check_task(self.step_reward, self.task)
        self._open()
        if not self.instructions:
            return self.task.prompt
        filled = self.instructions.replace("{workdir}", self.instance.workdir)
        return f"{self.task.prompt}\n\n{filled.replace('{seconds}', f'{self.command_seconds:g}')}"

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """As `RepositoryEnv`, with the command's exit code in `info`."""
        observation, reward, terminated, truncated, info = super().step(action)
        code, self._exit_code = self._exit_code, None
        if code is not None:
            info["exit_code"] = code
        return observation, reward, terminated, truncated, info

    def advance(self, action: str) -> Outcome:
        """Run a command, or judge what is submitted."""
        try:
            return self._advanced(action)
        except SandboxError as error:
            return self.broken(error, self._observation)

    def take_again(self, action: str) -> None:
        """Run the command again."""
        taken = parse_action(action, bare=self.bare)
        if isinstance(taken, Shell | Edit):
            self._run(taken)

    def _advanced(self, action: str) -> Outcome:
        taken = parse_action(action, bare=self.bare)
        if isinstance(taken, Submission):
            return Outcome("Submitted.", self.submitted(), Stop.ANSWERED)
        if isinstance(taken, Malformed):
            said, score = f"Malformed action: {taken.why}.\n{EXPECTED}", Score(0.0, why=taken.why)
        else:
            result = self._run(taken)
            self._taken.append(action)
            self._seconds += result.seconds
            self._exit_code = result.exit_code
            if result.output.lstrip().partition("\n")[0].strip() == SUBMITTED:
                return Outcome("Submitted.", self.submitted(), Stop.ANSWERED)
            said, score = shown(result), self._of_step(taken.command if isinstance(taken, Shell) else action)
        return self._ended(f"{said}\n{self._left()}", score)

    def _ended(self, observation: str, score: Score) -> Outcome:
        """The outcome of an action that did not submit: the end, if a budget has run out."""
        steps_left = self.max_steps - self.index - 1
        if steps_left > 0 and self._seconds < self.max_seconds:
            return Outcome(observation, score)
        stop = Stop.TIME_LIMIT if steps_left > 0 else Stop.STEP_LIMIT
        if self.autosubmit:
            return Outcome(observation, self.submitted(), stop)
        why = f"nothing was submitted within the budget of {'time' if stop is Stop.TIME_LIMIT else 'actions'}"
        return Outcome(observation, replace(score, why=why), stop)

    def _run(self, taken: Shell | Edit) -> ExecResult:
        if isinstance(taken, Edit):
            return run_edit(self.box, taken)
        return self.box.exec(
            taken.command,
            timeout=max(1.0, min(self.command_seconds, self.max_seconds - self._seconds)),
            stateful=self.stateful,
            output_limit=KEPT_BYTES,
        )

    def _of_step(self, command: str) -> Score:
        if self.step_reward is None or self.index >= len(self.task.steps):
            return Score(0.0)
        return self.step_reward(Attempt(task=self.task, text=command, index=self.index))

    def _left(self) -> str:
        return left(self.max_steps - self.index - 1, self.max_seconds - self._seconds)
