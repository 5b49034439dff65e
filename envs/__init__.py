"""What an agent acts in: Gymnasium environments.

Add one: a file here, and a line in the table. The contract tests and Gymnasium pick it up from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.envs.calculator import CalculatorSolver
    from stepgym.envs.decompose import DecomposeEnv
    from stepgym.envs.expert_step import ExpertStepEnv
    from stepgym.envs.guided import GuidedEnv
    from stepgym.envs.maths import MathEnv
    from stepgym.envs.solver import CachedSolver, Solver
    from stepgym.envs.space import TextSpace
    from stepgym.envs.swe import SWEEnv
    from stepgym.envs.swe_edit import SWEEditEnv
    from stepgym.envs.text import Outcome, TextEnv
    from stepgym.envs.vector import EnvStep, ThreadVectorEnv

ENVS: Registry[TextEnv] = Registry(
    "environment",
    {
        "stepgym/Decompose-v0": "stepgym.envs.decompose:DecomposeEnv",
        "stepgym/ExpertStep-v0": "stepgym.envs.expert_step:ExpertStepEnv",
        "stepgym/Guided-v0": "stepgym.envs.guided:GuidedEnv",
        "stepgym/Math-v0": "stepgym.envs.maths:MathEnv",
        "stepgym/SWE-v0": "stepgym.envs.swe:SWEEnv",
        "stepgym/SWEEdit-v0": "stepgym.envs.swe_edit:SWEEditEnv",
    },
)

__getattr__ = exports(
    __name__,
    {
        "CachedSolver": "stepgym.envs.solver",
        "CalculatorSolver": "stepgym.envs.calculator",
        "DecomposeEnv": "stepgym.envs.decompose",
        "EnvStep": "stepgym.envs.vector",
        "ExpertStepEnv": "stepgym.envs.expert_step",
        "GuidedEnv": "stepgym.envs.guided",
        "MathEnv": "stepgym.envs.maths",
        "Outcome": "stepgym.envs.text",
        "SWEEditEnv": "stepgym.envs.swe_edit",
        "SWEEnv": "stepgym.envs.swe",
        "Solver": "stepgym.envs.solver",
        "TextEnv": "stepgym.envs.text",
        "TextSpace": "stepgym.envs.space",
        "ThreadVectorEnv": "stepgym.envs.vector",
    },
)

__all__ = [
    "ENVS",
    "CachedSolver",
    "CalculatorSolver",
    "DecomposeEnv",
    "EnvStep",
    "ExpertStepEnv",
    "GuidedEnv",
    "MathEnv",
    "Outcome",
    "SWEEditEnv",
    "SWEEnv",
    "Solver",
    "TextEnv",
    "TextSpace",
    "ThreadVectorEnv",
]
