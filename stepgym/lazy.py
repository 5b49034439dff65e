"""Public names of a package, imported when they are first used (PEP 562).

A package's ``__init__`` names its public classes without importing the modules they live in, so that
``import stepgym.rewards`` loads no sympy and ``import stepgym.envs`` no gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from stepgym.registry import unknown


def exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A module ``__getattr__`` for `package`: `modules` maps each public name to the module that defines it."""

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in modules:
            raise AttributeError(f"module {package!r}: {unknown('attribute', name, modules)}")
        return getattr(import_module(modules[name]), name)

    return __getattr__
