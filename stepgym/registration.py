"""Makes stepgym's environments known to Gymnasium without importing it.

Gymnasium has no plug-in entry point: ids are registered by importing a package. Importing gymnasium takes 0.2 to 0.5
seconds, which somebody who only wants a reward should not pay. So if gymnasium is loaded already, the ids are
registered at once; otherwise at the end of its own import, whenever that comes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader


def env_ids() -> list[str]:
    """Every registered id, such as ``stepgym/Math-v0``; each works as ``gym.make(id)`` with no further argument."""
    from stepgym.envs import ENVS

    return list(ENVS)


def register_envs() -> None:
    """Register every id, now or when gymnasium is imported. Doing it twice does no harm."""
    if "gymnasium" in sys.modules:
        _register()
    elif not any(isinstance(finder, _GymnasiumFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GymnasiumFinder())


def _register() -> None:
    from gymnasium.envs.registration import register, registry

    from stepgym.envs import ENVS

    for env_id, path in ENVS.items():
        if env_id not in registry:
            # Gymnasium's passive checker warns of a NaN reward, which is how an ungraded step must look; the contract
            # tests run it, and `check_env`, over every id.
            register(
                id=env_id,
                entry_point=path,
                vector_entry_point=f"stepgym.envs.vector:{env_id}",
                disable_env_checker=True,
            )


class _GymnasiumFinder:
    """Finds gymnasium as usual, once, with a loader that registers our ids after it has run.

    It and the loader have the methods of `importlib.abc` without its classes, which take as long to import as all else.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)  # type: ignore[assignment]
        return spec


class _ThenRegister:
    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Hand the module back to its own loader first: reloading and resource look-ups must see an ordinary module.
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.inner
        self.inner.exec_module(module)
        _register()
