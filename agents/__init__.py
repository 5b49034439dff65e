"""Who acts: policies (model back ends), agents (who keep the conversation), and the one rollout loop.

Add a policy: a file here, and a line in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.agents.batching import BatchingPolicy
    from stepgym.agents.chat import ChatAgent
    from stepgym.agents.endpoint import OpenAIPolicy
    from stepgym.agents.gold import GoldPolicy
    from stepgym.agents.huggingface import TransformersPolicy
    from stepgym.agents.making import PolicyConfig, make_policy
    from stepgym.agents.policy import Agent, Policy, Sampling
    from stepgym.agents.rollout import Episode, Finished, rollout_all
    from stepgym.agents.scripted import ScriptedPolicy
    from stepgym.agents.vllm_engine import VLLMPolicy

POLICIES: Registry[Policy] = Registry(
    "policy",
    {
        "gold": "stepgym.agents.gold:GoldPolicy",
        "local": "stepgym.trainers.policy:CheckpointPolicy",
        "openai": "stepgym.agents.endpoint:OpenAIPolicy",
        "scripted": "stepgym.agents.scripted:ScriptedPolicy",
        "transformers": "stepgym.agents.huggingface:TransformersPolicy",
        "vllm": "stepgym.agents.vllm_engine:VLLMPolicy",
    },
)

__getattr__ = exports(
    __name__,
    {
        "Agent": "stepgym.agents.policy",
        "BatchingPolicy": "stepgym.agents.batching",
        "ChatAgent": "stepgym.agents.chat",
        "Episode": "stepgym.agents.rollout",
        "Finished": "stepgym.agents.rollout",
        "GoldPolicy": "stepgym.agents.gold",
        "OpenAIPolicy": "stepgym.agents.endpoint",
        "Policy": "stepgym.agents.policy",
        "PolicyConfig": "stepgym.agents.making",
        "Sampling": "stepgym.agents.policy",
        "ScriptedPolicy": "stepgym.agents.scripted",
        "TransformersPolicy": "stepgym.agents.huggingface",
        "VLLMPolicy": "stepgym.agents.vllm_engine",
        "make_policy": "stepgym.agents.making",
        "rollout_all": "stepgym.agents.rollout",
    },
)

__all__ = [
    "POLICIES",
    "Agent",
    "BatchingPolicy",
    "ChatAgent",
    "Episode",
    "Finished",
    "GoldPolicy",
    "OpenAIPolicy",
    "Policy",
    "PolicyConfig",
    "Sampling",
    "ScriptedPolicy",
    "TransformersPolicy",
    "VLLMPolicy",
    "make_policy",
    "rollout_all",
]
