"""What plain OpenRLHF's agent plays: said by an environment variable, for its executors are made without arguments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stepgym.codec import decode
from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.trainers.cluster.rollouts.request import EpisodeRequest

VARIABLE = "STEPGYM_AGENT"
"""Holds an `AgentSettings` as a JSON object; every node must have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """An environment, and what is said and logged in it."""

    env: str = "stepgym/Math-v0"
    """A registered id."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The environment's."""
    system: str = ""
    """The agent's system prompt."""
    stop: tuple[str, ...] = ()
    """Strings that end a reply, and stay in its text."""
    parts: tuple[str, ...] = ()
    """Parts of rewards that are logged, such as ``similarity``."""

    @classmethod
    def of_process(cls) -> Self:
        """Those of the variable, or the defaults. Raises `ConfigError` naming what does not fit."""
        try:
            value = json.loads(os.environ.get(VARIABLE, "{}"))
        except ValueError as error:
            raise ConfigError(f"the environment variable {VARIABLE} is not JSON: {error}") from error
        return decode(cls, value, where=VARIABLE)

    def request(self, label: str) -> EpisodeRequest:
        """What a row of a data set asks for: its label is a task, or an `EpisodeRequest` that says it for itself.

        Raises `ConfigError` for another label.
        """
        try:
            value = json.loads(label)
        except ValueError as error:
            raise ConfigError(f"the label of a prompt must be a stepgym task as JSON, not {label!r:.80}") from error
        if isinstance(value, dict) and "task" in value:
            return decode(EpisodeRequest, value, where="label")
        task = decode(Task, value, where="label")
        return EpisodeRequest(task=task, env=self.env, settings=self.settings, system=self.system, stop=self.stop)
