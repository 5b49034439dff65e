"""The contracts of the acting side: a policy samples text, an agent plays an episode with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stepgym.errors import ConfigError
from stepgym.records import Message, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample one reply."""

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 2048
    """Most tokens of one reply; a longer one is cut and has `Reply.finished` false."""
    stop: tuple[str, ...] = ()
    """Strings that end a reply, and are not part of its text."""
    keep_stop: bool = False
    """Leave the string that ended it in the text."""
    seed: int | None = None
    """Seed of this one reply, where the back end honours it. Repeated samples of one prompt need different seeds."""

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1 and self.max_tokens >= 1):
            raise ConfigError(
                "temperature must not be negative, top_p lie above 0 and up to 1, and max_tokens be at least 1, "
                f"got {self.temperature:g}, {self.top_p:g} and {self.max_tokens}"
            )

    def cut(self, text: str) -> str:
        """`text` up to the first of the stop strings in it."""
        found = [(text.index(string), len(string) * self.keep_stop) for string in self.stop if string in text]
        return text[: sum(min(found))] if found else text


class Policy(Protocol):
    """A language model that can be sampled. Tokens live here and nowhere else.

    Concurrent calls are allowed; a policy that gains from batching batches them.
    """

    @property
    def name(self) -> str:
        """What trajectories and reports call it."""

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One reply to the chat so far. Raises `stepgym.errors.PolicyError`."""

    async def close(self) -> None:
        """Free the engine or the connections. Safe to call twice."""


class Agent(Protocol):
    """Keeps the conversation of one episode: history and prompts here, sampling in the policy."""

    @property
    def name(self) -> str:
        """What trajectories and reports call it."""

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode. With a `seed`, sampling repeats itself where the policy honours seeds."""

    async def act(self, observation: str) -> Reply:
        """The next action. Raises `stepgym.errors.PolicyError`."""
