"""The papers' claims, tested in miniature: the same training runs, several seeds, and a verdict on each claim.

Add a study: a file here that holds a `Study`, and a line in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.trainers.studies.running import run_study
    from stepgym.trainers.studies.study import Arm, Claim, Finding, Problem, Start, Study, Verdict

STUDIES: Registry[Study] = Registry(
    "study",
    {
        "srl": "stepgym.trainers.studies.srl:STUDY",
        "guide": "stepgym.trainers.studies.guide:STUDY",
        "a2d": "stepgym.trainers.studies.a2d:STUDY",
        "guide-rule": "stepgym.trainers.studies.guide_rule:STUDY",
    },
)

__getattr__ = exports(
    __name__,
    {
        "Arm": "stepgym.trainers.studies.study",
        "Claim": "stepgym.trainers.studies.study",
        "Finding": "stepgym.trainers.studies.study",
        "Problem": "stepgym.trainers.studies.study",
        "Start": "stepgym.trainers.studies.study",
        "Study": "stepgym.trainers.studies.study",
        "Verdict": "stepgym.trainers.studies.study",
        "run_study": "stepgym.trainers.studies.running",
    },
)

__all__ = ["STUDIES", "Arm", "Claim", "Finding", "Problem", "Start", "Study", "Verdict", "run_study"]
