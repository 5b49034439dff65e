"""Who acts: policies (model back ends), agents (who keep the conversation), and the one rollout loop.

The roles of the methods are here too: `Reasoner` and `NextStepAgent` play episodes; `Guide`, `Decomposer` and
`StepRewriter` write what tasks lack, one task at a time (`annotate_task`) or a whole set (``stepgym annotate``).

Add a policy: a file here, and a line in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.agents.bash import BashAgent
    from stepgym.agents.batching import BatchingPolicy
    from stepgym.agents.chat import ChatAgent
    from stepgym.agents.decomposer import Decomposer
    from stepgym.agents.endpoint import OpenAIPolicy
    from stepgym.agents.giveaway import gives_away
    from stepgym.agents.gold import GoldPolicy
    from stepgym.agents.guide import Guide
    from stepgym.agents.making import PolicyConfig, make_policy
    from stepgym.agents.next_step import NextStepAgent
    from stepgym.agents.policy import Agent, Policy, Sampling
    from stepgym.agents.reasoner import Reasoner
    from stepgym.agents.rewriter import StepRewriter
    from stepgym.agents.rollout import Episode, Finished, rollout_all
    from stepgym.agents.scripted import ScriptedPolicy
    from stepgym.agents.solver import PolicySolver
    from stepgym.agents.swe_replay import ReplayReport, recording, replay, with_run
    from stepgym.agents.swe_scripted import GoldAgent, NoOpAgent, ReplayAgent
    from stepgym.agents.vllm_engine import VLLMPolicy
    from stepgym.agents.writing import Rejection, Writer, annotate_task

POLICIES: Registry[Policy] = Registry(
    "policy",
    {
        "gold": "stepgym.agents.gold:GoldPolicy",
        "local": "stepgym.trainers.policy:CheckpointPolicy",
        "openai": "stepgym.agents.endpoint:OpenAIPolicy",
        "scripted": "stepgym.agents.scripted:ScriptedPolicy",
        "transformers": "stepgym.trainers.transformers_policy:TransformersPolicy",
        "vllm": "stepgym.agents.vllm_engine:VLLMPolicy",
    },
)

__getattr__ = exports(
    __name__,
    {
        "Agent": "stepgym.agents.policy",
        "BashAgent": "stepgym.agents.bash",
        "BatchingPolicy": "stepgym.agents.batching",
        "ChatAgent": "stepgym.agents.chat",
        "Decomposer": "stepgym.agents.decomposer",
        "Episode": "stepgym.agents.rollout",
        "Finished": "stepgym.agents.rollout",
        "GoldAgent": "stepgym.agents.swe_scripted",
        "GoldPolicy": "stepgym.agents.gold",
        "Guide": "stepgym.agents.guide",
        "NextStepAgent": "stepgym.agents.next_step",
        "NoOpAgent": "stepgym.agents.swe_scripted",
        "OpenAIPolicy": "stepgym.agents.endpoint",
        "Policy": "stepgym.agents.policy",
        "PolicyConfig": "stepgym.agents.making",
        "PolicySolver": "stepgym.agents.solver",
        "Reasoner": "stepgym.agents.reasoner",
        "Rejection": "stepgym.agents.writing",
        "ReplayAgent": "stepgym.agents.swe_scripted",
        "ReplayReport": "stepgym.agents.swe_replay",
        "Sampling": "stepgym.agents.policy",
        "ScriptedPolicy": "stepgym.agents.scripted",
        "StepRewriter": "stepgym.agents.rewriter",
        "VLLMPolicy": "stepgym.agents.vllm_engine",
        "Writer": "stepgym.agents.writing",
        "annotate_task": "stepgym.agents.writing",
        "gives_away": "stepgym.agents.giveaway",
        "make_policy": "stepgym.agents.making",
        "recording": "stepgym.agents.swe_replay",
        "replay": "stepgym.agents.swe_replay",
        "rollout_all": "stepgym.agents.rollout",
        "with_run": "stepgym.agents.swe_replay",
    },
)

__all__ = [
    "POLICIES",
    "Agent",
    "BashAgent",
    "BatchingPolicy",
    "ChatAgent",
    "Decomposer",
    "Episode",
    "Finished",
    "GoldAgent",
    "GoldPolicy",
    "Guide",
    "NextStepAgent",
    "NoOpAgent",
    "OpenAIPolicy",
    "Policy",
    "PolicyConfig",
    "PolicySolver",
    "Reasoner",
    "Rejection",
    "ReplayAgent",
    "ReplayReport",
    "Sampling",
    "ScriptedPolicy",
    "StepRewriter",
    "VLLMPolicy",
    "Writer",
    "annotate_task",
    "gives_away",
    "make_policy",
    "recording",
    "replay",
    "rollout_all",
    "with_run",
]
