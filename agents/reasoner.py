"""The reasoner: solves a problem in one go, whether its prompt carries help or not."""

from __future__ import annotations

from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Policy, Sampling

REASON = r"Please reason step by step, and put your final answer within \boxed{}."
"""The system prompt of Qwen2.5-Math's evaluation (arXiv 2409.12122), used by the papers for training and testing."""


class Reasoner(ChatAgent):
    """A `ChatAgent` under the system prompt `REASON`.

    Guide's and A2D's reasoner, helped and plain alike: the help is a part of the task's prompt (`stepgym.tasks.helped`)
    or of the environment's observation (``stepgym/Guided-v0``). Every observation is answered on its own, since the
    attempts of a group are independent.
    """

    def __init__(self, policy: Policy, *, sampling: Sampling | None = None, system: str = REASON) -> None:
        super().__init__(policy, sampling=sampling, system=system, history=False)

    @property
    def name(self) -> str:
        """``reasoner:`` and the policy's name."""
        return f"reasoner:{self.policy.name}"
