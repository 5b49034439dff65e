"""What an agent acts in: Gymnasium environments.

Add one: a file here, and a line in the table. The contract tests and Gymnasium pick it up from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.envs.maths import MathEnv
    from stepgym.envs.space import TextSpace
    from stepgym.envs.text import Outcome, TextEnv
    from stepgym.envs.vector import EnvStep, ThreadVectorEnv

ENVS: Registry[TextEnv] = Registry(
    "environment",
    {
        "stepgym/Math-v0": "stepgym.envs.maths:MathEnv",
    },
)

__getattr__ = exports(
    __name__,
    {
        "EnvStep": "stepgym.envs.vector",
        "MathEnv": "stepgym.envs.maths",
        "Outcome": "stepgym.envs.text",
        "TextEnv": "stepgym.envs.text",
        "TextSpace": "stepgym.envs.space",
        "ThreadVectorEnv": "stepgym.envs.vector",
    },
)

__all__ = ["ENVS", "EnvStep", "MathEnv", "Outcome", "TextEnv", "TextSpace", "ThreadVectorEnv"]
