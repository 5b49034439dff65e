"""A policy from settings, such as a command line gives them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from stepgym.agents import POLICIES
from stepgym.agents.policy import Policy
from stepgym.errors import ConfigError
from stepgym.records import Task

OPERATIONAL = (
    *("base_url", "api_key_env", "timeout", "retries", "prompt_price", "completion_price"),
    *("device", "gpus", "max_batch"),
)
"""Settings of `PolicyConfig` that say how, not what: they may change when a run goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """Which policy, and its settings. One that is not given takes the policy's own default."""

    policy: str = "openai"
    """Back end: openai (any compatible endpoint), transformers, vllm, local (our checkpoint) or gold (the answers)."""
    model: str | None = None
    """Name of the model at the endpoint or on the hub, or the path of its folder or checkpoint."""
    base_url: str | None = None
    """Address of the endpoint, up to and with /v1."""
    api_key_env: str | None = None
    """Environment variable that holds the key."""
    timeout: float | None = None
    """Seconds that one request may take."""
    retries: int | None = None
    """How often a failed request is tried again."""
    prompt_price: float | None = None
    """Dollars per million prompt tokens."""
    completion_price: float | None = None
    """Dollars per million sampled tokens."""
    device: str | None = None
    """Where a model in this process runs: cpu, cuda, cuda:1."""
    gpus: int | None = None
    """How many GPUs vLLM splits the model over."""
    max_batch: int | None = None
    """Most replies that a model in this process samples at a time."""


def make_policy(config: PolicyConfig, *, tasks: Sequence[Task] = ()) -> Policy:
    """Build it. `tasks` go to policies that know the answers.

    Raises `UnknownNameError` for a policy there is not, and `ConfigError` for a setting it does not have, or lacks.
    """
    made = POLICIES.load(config.policy)
    parameters = inspect.signature(made).parameters
    given: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(PolicyConfig)}
    settings = {name: value for name, value in given.items() if value is not None and name != "policy"}
    for name in settings:
        if name not in parameters:
            raise ConfigError(f"the policy {config.policy!r} has no setting {name!r}")
    if "tasks" in parameters:
        settings["tasks"] = tasks
    for name, parameter in parameters.items():
        anything = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not anything and name not in settings:
            raise ConfigError(f"the policy {config.policy!r} needs the setting {name!r}")
    policy: Policy = made(**settings)
    return policy
