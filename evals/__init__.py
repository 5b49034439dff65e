"""Runs over many tasks: run folder, resume, re-score, report, viewer. The commands are in `stepgym.evals.commands`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports

if TYPE_CHECKING:
    from stepgym.evals.maths import MathEval, evaluate_math
    from stepgym.evals.report import Estimate, MathReport
    from stepgym.evals.rescoring import rescore_math
    from stepgym.evals.validation import Flaw, validate_tasks

__getattr__ = exports(
    __name__,
    {
        "Estimate": "stepgym.evals.report",
        "Flaw": "stepgym.evals.validation",
        "MathEval": "stepgym.evals.maths",
        "MathReport": "stepgym.evals.report",
        "evaluate_math": "stepgym.evals.maths",
        "rescore_math": "stepgym.evals.rescoring",
        "validate_tasks": "stepgym.evals.validation",
    },
)

__all__ = ["Estimate", "Flaw", "MathEval", "MathReport", "evaluate_math", "rescore_math", "validate_tasks"]
