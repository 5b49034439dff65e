"""What a rollout actor is asked to play. It travels as the ``label`` of OpenRLHF's prompts, which is text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stepgym.codec import decode, encode
from stepgym.records import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRequest:
    """A group of episodes of one task."""

    task: Task
    env: str
    """A registered id."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The environment's."""
    system: str = ""
    """The agent's system prompt."""
    stop: tuple[str, ...] = ()
    """Strings that end a reply, and stay in its text."""
    max_tokens: int = 2048
    """Most tokens of a reply."""
    temperature: float = 1.0
    seeds: tuple[int, ...] = ()
    """One for each episode; without them chance decides."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(encode(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Raises `ConfigError` naming what does not fit."""
        return decode(cls, json.loads(line), where="an episode request")
