"""SWE-bench's verdict on stored logs: `grade(row, log)`, without swebench and without a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports

if TYPE_CHECKING:
    from stepgym.rewards.swe import (
        PARSERS,
        RunRecord,
        Target,
        TestRecord,
        TestVerdict,
        Verdict,
        grade,
        guard_patch,
        parse_log,
        parser_of,
        read_record,
    )

__getattr__ = exports(
    __name__,
    {
        "PARSERS": "stepgym.rewards.swe.parsers",
        "RunRecord": "stepgym.rewards.swe.record",
        "Target": "stepgym.rewards.swe.verdict",
        "TestRecord": "stepgym.rewards.swe.record",
        "TestVerdict": "stepgym.rewards.swe.verdict",
        "Verdict": "stepgym.rewards.swe.verdict",
        "grade": "stepgym.rewards.swe.grading",
        "guard_patch": "stepgym.rewards.swe.guard",
        "parse_log": "stepgym.rewards.swe.parsers",
        "parser_of": "stepgym.rewards.swe.parsers",
        "read_record": "stepgym.rewards.swe.record",
    },
)

__all__ = [
    "PARSERS",
    "RunRecord",
    "Target",
    "TestRecord",
    "TestVerdict",
    "Verdict",
    "grade",
    "guard_patch",
    "parse_log",
    "parser_of",
    "read_record",
]
