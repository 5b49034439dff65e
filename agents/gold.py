"""A policy that knows the answers: it replays the expert steps of a task, or states its gold answer."""

from __future__ import annotations

from collections.abc import Sequence

from stepgym.agents.policy import Sampling
from stepgym.agents.scripted import matching_prompt
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Role, Task
from stepgym.tasks.expert_steps import joined


class GoldPolicy:
    """Answers each of `tasks` correctly, or raises `PolicyError` for a chat that is about none of them.

    An environment in which it does not score full marks has a broken grader or a broken task. With `stepwise` it says
    one expert step a turn (the turn is counted from the chat, so the agent must keep its history), else all at once.
    """

    name = "gold"

    def __init__(self, tasks: Sequence[Task], *, stepwise: bool = False) -> None:
        self.tasks, self.stepwise = {task.prompt: task for task in tasks}, stepwise

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:  # noqa: ARG002
        """The solution, or its next step; every setting of `sampling` is ignored."""
        task = self.tasks[matching_prompt(self.tasks, messages)]
        steps = solution(task)
        if not self.stepwise:
            return Reply(text=joined(task, steps))
        turn = sum(message.role is Role.ASSISTANT for message in messages)
        if turn >= len(steps):
            raise PolicyError(f"the gold solution has {len(steps)} steps, and was asked for one more")
        return Reply(text=steps[turn])

    async def close(self) -> None:
        """Nothing to free."""


def solution(task: Task) -> tuple[str, ...]:
    """The steps of a correct solution; the last one states the gold answer in ``\\boxed{}``."""
    if task.steps and r"\boxed" in task.steps[-1]:
        return task.steps
    return (*task.steps, rf"The answer is \boxed{{{task.answer}}}.")
