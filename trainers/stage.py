"""The environment of a run with its settings: one to learn in, and one that shows what was learned."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepgym.envs import ENVS
from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import parse_settings
from stepgym.trainers.recipe import Recipe

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True, slots=True)
class Stage:
    """Makes environments of one kind."""

    env: str
    """A registered id."""
    settings: Mapping[str, Any]
    stop: tuple[str, ...] = ()
    """Strings that end a reply."""

    def takes(self, name: str) -> bool:
        """Whether the environment has a setting of this name."""
        return name in inspect.signature(ENVS.load(self.env)).parameters

    def make(self, tasks: Sequence[Task], **more: Any) -> gymnasium.Env[str, str]:
        """An environment over `tasks`, with `more` settings. Raises `ConfigError` for a setting it does not take."""
        import gymnasium

        for name in self.settings:
            if not self.takes(name):
                raise ConfigError(f"env_settings: {self.env} has no setting {name!r}")
        return gymnasium.make(self.env, tasks=tuple(tasks), disable_env_checker=True, **self.settings, **more)


def training_stage(config: TrainConfig, recipe: Recipe) -> Stage:
    """Where a run learns."""
    return _stage(config, config.env or recipe.env, config.env_settings, config.stop)


def evaluation_stage(config: TrainConfig, recipe: Recipe) -> Stage:
    """Where its held-out tasks are played: with the same settings if it is the same environment."""
    env = config.evaluated_in or recipe.evaluated_in
    return _stage(config, env, config.env_settings if env == (config.env or recipe.env) else ())


def _stage(config: TrainConfig, env: str, settings: Sequence[str], stop: tuple[str, ...] = ()) -> Stage:
    bare = Stage(env, {})
    general = {"max_steps": config.max_steps, "instructions": config.instructions}
    taken = {name: value for name, value in general.items() if bare.takes(name)}
    return Stage(env, taken | parse_settings(settings, what="env_settings"), stop)
