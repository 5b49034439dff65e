"""Writers: roles that give a task something it lacks (a hint, sub-questions, steps), and the loop that insists.

A writer says what a policy is told, and reads what it replied: the task with the new material, or a `Rejection`. A
rejected reply is asked for again, with the reason, and after the last try the task stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from stepgym.agents.policy import Policy, Sampling
from stepgym.agents.seeding import content_seed
from stepgym.errors import ConfigError
from stepgym.records import Message, Role, Task, Usage
from stepgym.rewards.maths.extraction import spoken

AGAIN = "That cannot be used: {why}. Write it again, in the form that was asked for."


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a reply was not used."""

    why: str
    """Which rule it broke; rejections are counted by it."""
    detail: str = ""
    """How it broke the rule, for the model and for a person."""

    def __str__(self) -> str:
        return f"{self.why} ({self.detail})" if self.detail else self.why


class Writer(Protocol):
    """Writes one kind of material. Pure: the policy is asked elsewhere."""

    field: str
    """The field of `Task` that it fills."""

    def has(self, task: Task, /) -> bool:
        """Whether `task` has the material."""

    def messages(self, task: Task, /) -> Sequence[Message] | Rejection:
        """What the policy is told, or why the material cannot be written for this task at all."""

    def read(self, task: Task, text: str, /) -> Task | Rejection:
        """`task` with what `text` (a reply, without thoughts) brings, or why it cannot be used. May take seconds."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a task."""

    task: Task
    """With the material, unless it was rejected."""
    rejection: Rejection | None = None
    """The last one."""
    usage: Usage = field(default_factory=Usage)
    """Of all tries."""


async def annotate_task(
    policy: Policy,
    writer: Writer,
    task: Task,
    *,
    sampling: Sampling | None = None,
    tries: int = 3,
    feedback: bool = True,
    seed: int = 0,
) -> Written:
    """Ask `policy` until `writer` accepts, `tries` times at most. Raises `PolicyError`, and `ConfigError` for no tries.

    The reason of a rejection goes into the next try, unless `feedback` is off, which suits models that know one prompt
    only. Each try's sampling seed depends on `seed`, the task's id and the try.
    """
    if tries < 1:
        raise ConfigError(f"tries must be at least 1, got {tries}")
    asked = writer.messages(task)
    if isinstance(asked, Rejection):
        return Written(task, asked)
    sampling = sampling or Sampling()
    chat, usage, rejection = list(asked), Usage(), None
    for index in range(tries):
        reply = await policy.sample(chat, replace(sampling, seed=content_seed(seed, task.id, index)))
        usage += reply.usage
        text = spoken(reply.text).strip()
        if reply.finished:
            read = await asyncio.to_thread(writer.read, task, text)
        else:
            read = Rejection("cut off", f"longer than {sampling.max_tokens} tokens")
        if isinstance(read, Task):
            return Written(read, usage=usage)
        rejection = read
        if feedback:
            again = Message(Role.USER, AGAIN.replace("{why}", str(rejection)))
            chat = [*asked, Message(Role.ASSISTANT, text or "..."), again]
    return Written(task, rejection, usage)
