"""Who judges: verifiers, similarities, format rules, pass@k, and how they combine.

Add one: a file here, and a line in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry
from stepgym.rewards.contract import Reward, TaskChecker, check_task

if TYPE_CHECKING:
    from stepgym.rewards.combine import FirstThatApplies, Product, WeightedSum
    from stepgym.rewards.format import Format
    from stepgym.rewards.maths.math_verify_grader import MathVerifyGrader
    from stepgym.rewards.maths.policy import QWEN
    from stepgym.rewards.maths.verifier import MathVerifier
    from stepgym.rewards.passing import PassAtK, pass_at_k
    from stepgym.rewards.similarity import SequenceSimilarity
    from stepgym.rewards.swe.hidden_tests import HiddenTests
    from stepgym.rewards.swe.similar import PatchSimilarity

REWARDS: Registry[Reward] = Registry(
    "reward",
    {
        "math": "stepgym.rewards.maths.verifier:MathVerifier",
        "math-qwen": "stepgym.rewards.maths.verifier:qwen_verifier",
        "math-verify": "stepgym.rewards.maths.math_verify_grader:MathVerifyGrader",
        "similarity": "stepgym.rewards.similarity:SequenceSimilarity",
        "format": "stepgym.rewards.format:Format",
        "swe-tests": "stepgym.rewards.swe.hidden_tests:HiddenTests",
        "patch-similarity": "stepgym.rewards.swe.similar:PatchSimilarity",
    },
)

__getattr__ = exports(
    __name__,
    {
        "FirstThatApplies": "stepgym.rewards.combine",
        "Format": "stepgym.rewards.format",
        "HiddenTests": "stepgym.rewards.swe.hidden_tests",
        "MathVerifier": "stepgym.rewards.maths.verifier",
        "MathVerifyGrader": "stepgym.rewards.maths.math_verify_grader",
        "PassAtK": "stepgym.rewards.passing",
        "PatchSimilarity": "stepgym.rewards.swe.similar",
        "Product": "stepgym.rewards.combine",
        "QWEN": "stepgym.rewards.maths.policy",
        "SequenceSimilarity": "stepgym.rewards.similarity",
        "WeightedSum": "stepgym.rewards.combine",
        "pass_at_k": "stepgym.rewards.passing",
    },
)

__all__ = [
    "QWEN",
    "REWARDS",
    "FirstThatApplies",
    "Format",
    "HiddenTests",
    "MathVerifier",
    "MathVerifyGrader",
    "PassAtK",
    "PatchSimilarity",
    "Product",
    "Reward",
    "SequenceSimilarity",
    "TaskChecker",
    "WeightedSum",
    "check_task",
    "pass_at_k",
]
