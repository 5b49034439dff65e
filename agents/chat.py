"""The plain agent: every observation is a user turn, every reply an assistant turn."""

from __future__ import annotations

import random
from dataclasses import replace

from stepgym.agents.policy import Policy, Sampling
from stepgym.records import Message, Reply, Role


class ChatAgent:
    """Keeps a chat with a policy.

    `suffix` stands behind every observation. With `history` false each turn shows the policy only the system prompt and
    the latest observation, which suits environments whose observation already holds everything so far.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        sampling: Sampling | None = None,
        system: str = "",
        suffix: str = "",
        history: bool = True,
    ) -> None:
        self.policy, self.sampling = policy, sampling or Sampling()
        self.system, self.suffix, self.history = system, suffix, history
        self.messages: list[Message] = []
        self.reset()

    @property
    def name(self) -> str:
        """``chat:`` and the policy's name."""
        return f"chat:{self.policy.name}"

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode. Every turn is sampled with a seed of its own, drawn from `seed`."""
        self._seeds = None if seed is None else random.Random(seed)
        self.messages = [Message(Role.SYSTEM, self.system)] if self.system else []

    async def act(self, observation: str) -> Reply:
        """The policy's reply to `observation`. Raises `stepgym.errors.PolicyError`."""
        turn = Message(Role.USER, observation + self.suffix)
        kept = self.messages if self.history else self.messages[: bool(self.system)]
        sampling = self.sampling
        if self._seeds is not None:
            sampling = replace(sampling, seed=self._seeds.getrandbits(31))
        reply = await self.policy.sample([*kept, turn], sampling)
        self.messages = [*kept, turn, Message(Role.ASSISTANT, reply.text)]
        return reply
