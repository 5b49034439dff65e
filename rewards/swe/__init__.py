"""Software-engineering tasks judged: log parsers, the official verdict, and what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports

if TYPE_CHECKING:
    from stepgym.rewards.swe.findings import Finding
    from stepgym.rewards.swe.grading import grade
    from stepgym.rewards.swe.guard import GuardedPatch, guard_patch
    from stepgym.rewards.swe.parsers import PARSERS, parse_log, parser_of
    from stepgym.rewards.swe.record import Outcome, Phase, RunRecord, TestRecord, read_record
    from stepgym.rewards.swe.verdict import Target, TestVerdict, Verdict
    from stepgym.tasks.swe_patch import Diff, FilePatch
    from stepgym.tasks.swe_patch_reading import parse_diff

__getattr__ = exports(
    __name__,
    {
        "PARSERS": "stepgym.rewards.swe.parsers",
        "Diff": "stepgym.tasks.swe_patch",
        "FilePatch": "stepgym.tasks.swe_patch",
        "Finding": "stepgym.rewards.swe.findings",
        "GuardedPatch": "stepgym.rewards.swe.guard",
        "Outcome": "stepgym.rewards.swe.record",
        "Phase": "stepgym.rewards.swe.record",
        "RunRecord": "stepgym.rewards.swe.record",
        "Target": "stepgym.rewards.swe.verdict",
        "TestRecord": "stepgym.rewards.swe.record",
        "TestVerdict": "stepgym.rewards.swe.verdict",
        "Verdict": "stepgym.rewards.swe.verdict",
        "grade": "stepgym.rewards.swe.grading",
        "guard_patch": "stepgym.rewards.swe.guard",
        "parse_diff": "stepgym.tasks.swe_patch_reading",
        "parse_log": "stepgym.rewards.swe.parsers",
        "parser_of": "stepgym.rewards.swe.parsers",
        "read_record": "stepgym.rewards.swe.record",
    },
)

__all__ = [
    "PARSERS",
    "Diff",
    "FilePatch",
    "Finding",
    "GuardedPatch",
    "Outcome",
    "Phase",
    "RunRecord",
    "Target",
    "TestRecord",
    "TestVerdict",
    "Verdict",
    "grade",
    "guard_patch",
    "parse_diff",
    "parse_log",
    "parser_of",
    "read_record",
]
