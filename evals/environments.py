"""Makes the environments of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stepgym.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium


def env_maker(env_id: str, **settings: Any) -> Callable[[], gymnasium.Env[str, str]]:
    """Makes one more environment of that id at every call.

    Raises `UnknownNameError` for an id of ours that does not exist, and `ConfigError` for settings it does not take.
    """
    import gymnasium

    from stepgym.envs import ENVS

    if env_id.startswith("stepgym/"):
        ENVS[env_id]

    def make() -> gymnasium.Env[str, str]:
        # Gymnasium's passive checker warns of the NaN that an ungraded step earns.
        env: gymnasium.Env[str, str] = gymnasium.make(env_id, disable_env_checker=True, **settings)
        return env

    try:
        make().close()
    except (gymnasium.error.Error, TypeError) as error:
        why, _, _ = str(error).partition(" was raised from the environment creator")  # and all tasks, in full
        raise ConfigError(f"{env_id} cannot be made: {why}") from error
    return make
