"""Agents that need no model: they hand in the gold patch, or nothing, or play a recorded run again.

An environment in which gold does not earn full marks, or nothing earns any, has a broken task or a broken grader.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepgym.agents.scripted import matching_prompt
from stepgym.envs.swe_actions import SUBMIT, as_call
from stepgym.errors import PolicyError, TaskError
from stepgym.records import Message, Reply, Role, Task

GOLD_FILE = "/tmp/.gold.patch"


class ReplayAgent:
    """Takes the recorded steps of each of `tasks`, in their order, whatever comes of them, and then submits.

    A task is known by its prompt, which the first observation holds. The steps are those of recorded runs
    (`stepgym.tasks.recorded`): commands, and calls of tools.
    """

    name = "replay"

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Raises `TaskError` for a task without steps."""
        for task in tasks:
            if not self.actions(task):
                raise TaskError(f"task {task.id!r} has no recorded steps to play")
        self._tasks = {task.prompt: task for task in tasks}
        self._left: list[str] | None = None

    def actions(self, task: Task) -> list[str]:
        """What is done in an episode of the task, before the submission."""
        return [as_action(step) for step in task.steps]

    def reset(self, *, seed: int | None = None) -> None:  # noqa: ARG002
        """Begin an episode; there is nothing to sample."""
        self._left = None

    async def act(self, observation: str) -> Reply:
        """The next step. Raises `PolicyError` for a task that is none of those it was made with."""
        if self._left is None:
            task = self._tasks[matching_prompt(self._tasks, [Message(Role.USER, observation)])]
            self._left = [*self.actions(task), as_call(SUBMIT)]
        if not self._left:
            raise PolicyError("the recording has ended")
        return Reply(text=self._left.pop(0))


class GoldAgent(ReplayAgent):
    """Applies the gold patch by a command, and submits."""

    name = "gold"

    def actions(self, task: Task) -> list[str]:
        """One command."""
        return [as_call(gold_command(task.answer))] if task.answer.strip() else []


class NoOpAgent:
    """Submits at once: whoever rewards it rewards nothing."""

    name = "no-op"

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""

    async def act(self, observation: str) -> Reply:  # noqa: ARG002
        """The submission."""
        return Reply(text=as_call(SUBMIT))


def as_action(step: str) -> str:
    """A step of a recorded run as an action: a call stays as it is, and a command is one, whatever it holds."""
    return step if step.startswith(("<function=", "<tool_call>")) else as_call(step)


def gold_command(patch: str) -> str:
    """A command that applies a patch, as SWE-bench applies patches: git's way, and if that fails the looser one's."""
    lines = set(patch.split("\n"))
    mark = next(mark for number in range(len(lines) + 1) if (mark := f"EOF_PATCH_{number}") not in lines)
    text = patch if patch.endswith("\n") else f"{patch}\n"
    applied = f"git apply --whitespace=nowarn {GOLD_FILE} || patch --batch --fuzz=5 -p1 -i {GOLD_FILE}"
    return f"cat > {GOLD_FILE} <<'{mark}'\n{text}{mark}\n{{ {applied}; }} && rm {GOLD_FILE}"
