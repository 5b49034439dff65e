"""The verdict on one attempt at a software-engineering task."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Target(StrEnum):
    """What is asked of a test."""

    FAIL_TO_PASS = "FAIL_TO_PASS"
    PASS_TO_PASS = "PASS_TO_PASS"


@dataclass(frozen=True, slots=True)
class TestVerdict:
    """What became of one test of the task's lists."""

    __test__ = False  # pytest, seeing the name, would collect it

    name: str
    target: Target
    status: str
    """The status in the log; empty for a test that it does not name."""
    success: bool | None
    """Whether the test did what is asked; None for a status that neither passes nor fails, which counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The official verdict, and beside it what speaks against it."""

    id: str
    """The task."""
    resolved: bool = False
    """The verdict of swebench 5.0.2: every test of both lists did what is asked, as far as the log tells."""
    strict: bool | None = False
    """Whether it is resolved by the harness's own record as well, with nothing against it. None where all that speaks
    against it is that no record was taken."""
    tampered: tuple[str, ...] = ()
    """What is not as in an honest attempt, a clause each; what the harness took out of the patch is listed too."""
    tests: tuple[TestVerdict, ...] = ()
    """Every test of the lists, in their order; none where the log could not be read."""
    patch_exists: bool = True
    """False where the agent made no patch."""
    read: bool = False
    """Whether the log is one of a test run; a report calls it ``patch_successfully_applied``."""
    infra_failure: bool = False
    """Whether the log shows that the machinery broke, rather than the patch."""
    infra_reason: str = ""
    """What else a log without results shows: ``out_of_memory``, ``missing_module``."""
    why: str = ""
    """One clause for a person: what decided."""

    def share(self, target: Target) -> float:
        """The share of the tests of a list that did what is asked; 1 for a list that is empty."""
        decided = [test.success for test in self.tests if test.target is target and test.success is not None]
        return sum(decided) / len(decided) if decided else 1.0

    def to_json(self) -> dict[str, Any]:
        """The official ``report.json`` of this attempt."""
        report: dict[str, Any] = {
            "patch_is_None": not self.patch_exists,
            "patch_exists": self.patch_exists,
            "patch_successfully_applied": self.read,
            "resolved": self.resolved,
            "infra_failure": self.infra_failure,
        }
        if self.infra_reason:
            report["infra_failure_reason"] = self.infra_reason
        if self.read:
            nothing: dict[str, list[str]] = {"success": [], "failure": []}
            report["tests_status"] = {
                **{target.value: self._outcomes(target) for target in Target},
                "FAIL_TO_FAIL": nothing,
                "PASS_TO_FAIL": dict(nothing),
            }
        return {self.id: report}

    def _outcomes(self, target: Target) -> dict[str, list[str]]:
        tests = [test for test in self.tests if test.target is target]
        return {
            "success": [test.name for test in tests if test.success],
            "failure": [test.name for test in tests if test.success is False],
        }
