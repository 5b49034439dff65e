"""A policy that says what it is told to: for tests, examples and replays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Role


class ScriptedPolicy:
    """Gives the `replies` in the order in which it is asked, and raises `PolicyError` when they have run out.

    `by_prompt` and `by_function` make one whose reply depends on the chat.
    """

    name = "scripted"

    def __init__(self, *replies: str) -> None:
        left = deque(replies)
        self._answer: Callable[[Sequence[Message]], str] = lambda _: _next(left, f"after {len(replies)} replies")

    @classmethod
    def by_prompt(cls, replies: Mapping[str, str | Sequence[str]]) -> Self:
        """Replies for each problem, used up one by one. A problem is known by its prompt, or a part of it."""
        left = {key: deque([said] if isinstance(said, str) else said) for key, said in replies.items()}

        def answer(messages: Sequence[Message]) -> str:
            key = matching_prompt(left, messages)
            return _next(left[key], f"for {key!r}")

        return cls.by_function(answer)

    @classmethod
    def by_function(cls, answer: Callable[[Sequence[Message]], str]) -> Self:
        """The reply is `answer` of the chat so far."""
        policy = cls()
        policy._answer = answer
        return policy

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:  # noqa: ARG002
        """The next reply of the script; every setting of `sampling` is ignored."""
        return Reply(text=self._answer(messages))

    async def close(self) -> None:
        """Nothing to free."""


def matching_prompt(prompts: Mapping[str, object], messages: Sequence[Message]) -> str:
    """The longest of `prompts` that stands in the first user turn. Raises `PolicyError` if none does."""
    asked = next((message.content for message in messages if message.role is Role.USER), "")
    if asked in prompts:
        return asked
    found = max((prompt for prompt in prompts if prompt in asked), key=len, default=None)
    if found is None:
        raise PolicyError(f"the script has no reply to {asked[:80]!r}")
    return found


def _next(replies: deque[str], where: str) -> str:
    if not replies:
        raise PolicyError(f"the script has ended {where}")
    return replies.popleft()
