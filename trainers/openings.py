"""How episodes begin, in tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stepgym.agents.batching import Chat
from stepgym.records import Message, Role, Task
from stepgym.trainers.stage import Stage

if TYPE_CHECKING:
    import gymnasium


class Openings:
    """Shows a task as an environment would, and reads it as a policy would."""

    def __init__(self, system: str, encode: Callable[[Chat], tuple[int, ...]]) -> None:
        """`system` stands before it, unless it is "". `encode` gives the tokens that a policy reads of a chat."""
        self._system = [Message(Role.SYSTEM, system)] if system else []
        self._encode = encode
        self._readers: dict[str, gymnasium.Env[str, str]] = {}

    def tokens(self, task: Task, stage: Stage) -> tuple[int, ...]:
        """What the policy is given at the start of an episode of `task`."""
        if stage.env not in self._readers:
            self._readers[stage.env] = stage.make((task,))
        observation, _ = self._readers[stage.env].reset(options={"task": task})
        return self._encode([*self._system, Message(Role.USER, observation)])
