"""The environment of a run with its settings: one to learn in, and one that shows what was learned."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from stepgym.envs import ENVS
from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import parse_settings
from stepgym.trainers.recipe import Recipe

if TYPE_CHECKING:
    import gymnasium


SIMPLE = frozenset({bool, int, str, NoneType})
"""Types of settings that are checked before an environment is made."""


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

    def check(self) -> None:
        """Raises `ConfigError` for a setting that the environment does not have, or that is of another type."""
        kinds = get_type_hints(ENVS.load(self.env).__init__)
        for name, value in self.settings.items():
            if not self.takes(name):
                raise ConfigError(f"env_settings: {self.env} has no setting {name!r}")
            kind = kinds.get(name, Any)
            taken = get_args(kind) or (kind,)
            if SIMPLE.issuperset(taken) and type(value) not in taken:  # where an object is taken, it says itself
                named = " or ".join(one.__name__ for one in taken if one is not NoneType)
                raise ConfigError(f"env_settings: {name} must be {named}, not {value!r}")

    def make(self, tasks: Sequence[Task], **more: Any) -> gymnasium.Env[str, str]:
        """An environment over `tasks`, with `more` settings. Raises as `check`, and what the environment raises."""
        import gymnasium

        self.check()
        return gymnasium.make(self.env, tasks=tuple(tasks), disable_env_checker=True, **self.settings, **more)


def training_stage(config: TrainConfig, recipe: Recipe) -> Stage:
    """Where a run learns."""
    return _stage(config, config.env or recipe.env, config.env_settings, config.stop)


def evaluation_stage(config: TrainConfig, recipe: Recipe) -> Stage:
    """Where its held-out tasks are played: with the same settings if it is the same environment."""
    env = config.evaluated_in or recipe.evaluated_in
    return _stage(config, env, config.env_settings if env == (config.env or recipe.env) else ())


def check_stages(config: TrainConfig, recipe: Recipe, tasks: Sequence[Task], held_out: Sequence[Task]) -> None:
    """Make both once, before anything is trained or written.

    Raises `ConfigError` for settings that they refuse or that nothing heeds, and `TaskError` for held-out tasks, and a
    first task, that cannot be played in them.
    """
    training, evaluation = training_stage(config, recipe), evaluation_stage(config, recipe)
    usual = {"max_steps": 1, "instructions": "", "solver": None}
    for name, value in usual.items():
        if getattr(config, name) != value and not (training.takes(name) or evaluation.takes(name)):
            raise ConfigError(f"{name} means nothing in {training.env}; leave it out")
    if recipe.rollouts:
        training.make(tasks[:1]).close()
    evaluation.make(held_out).close()


def _stage(config: TrainConfig, env: str, settings: Sequence[str], stop: tuple[str, ...] = ()) -> Stage:
    bare = Stage(env, {})
    general = {"max_steps": config.max_steps, "instructions": config.instructions}
    taken = {name: value for name, value in general.items() if bare.takes(name)}
    return Stage(env, taken | parse_settings(settings, what="env_settings"), stop)
