"""The agent of SRL (arXiv 2510.25992): thinks, then writes the single next step."""

from __future__ import annotations

from dataclasses import dataclass

from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Policy, Sampling
from stepgym.envs.expert_step import NEXT_STEP, THINK
from stepgym.records import Reply
from stepgym.rewards.maths.extraction import spoken

SYSTEM = f"{NEXT_STEP}\n\n{THINK.format('the next step')}"
"""The essentials of the paper's system prompt (appendix B.2.1)."""


@dataclass(frozen=True, slots=True)
class _Action:
    """One action of this episode, and what of it is no thought."""

    text: str
    step: str


class NextStepAgent(ChatAgent):
    """A `ChatAgent` that shows its policy the observation alone, with its own earlier thoughts taken out.

    Made for ``stepgym/Math-v0``, step by step: there the observation repeats every action whole, while a policy that
    was trained in ``stepgym/ExpertStep-v0`` has only ever seen steps. ``ExpertStep-v0`` gives the same instructions
    itself; there, set `system` to "", or the environment's `instructions`.
    """

    def __init__(self, policy: Policy, *, sampling: Sampling | None = None, system: str = SYSTEM) -> None:
        self._actions: list[_Action] = []
        super().__init__(policy, sampling=sampling, system=system, history=False)

    @property
    def name(self) -> str:
        """``next-step:`` and the policy's name."""
        return f"next-step:{self.policy.name}"

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""
        self._actions = []
        super().reset(seed=seed)

    async def act(self, observation: str) -> Reply:
        """A thought and a step, as the policy wrote them. Raises `stepgym.errors.PolicyError`."""
        for action in self._actions:
            observation = observation.replace(action.text, action.step, 1)
        reply = await super().act(observation)
        step = spoken(reply.text).strip()
        if reply.text and step != reply.text:
            self._actions.append(_Action(reply.text, step))
        return reply
