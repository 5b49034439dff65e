"""The reward of an evaluation: the hidden tests, with everything they tell kept in the folder of the run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from stepgym.errors import TaskError
from stepgym.evals.swe_instances import InstanceFolder
from stepgym.records import Score, Status, Task
from stepgym.rewards.swe.grading import grade
from stepgym.rewards.swe.hidden_tests import HiddenTests, Judgement, beside
from stepgym.rewards.swe.parsers import PARSERS
from stepgym.rewards.swe.rows import row_of

NAME = "swe-tests"
"""Of the reward, in trajectory files."""


@dataclass(frozen=True, slots=True)
class KeptTests(HiddenTests):
    """`HiddenTests` that also asks for the official verdict, and writes down what it found out."""

    folder: Path = field(kw_only=True)
    """Of the run."""

    def score(self, judged: Judgement) -> Score:
        """Strict where that can be told, else official. `parts` has ``resolved``, officially, and ``strict``."""
        score = HiddenTests.score(self, judged)
        if not score.graded:
            return score
        parts = {**score.parts, "resolved": float(judged.resolved), "strict": float(bool(judged.verdict.strict))}
        if judged.verdict.strict is None:  # no record can be taken of such tests
            del parts["strict"]
        value = parts.get("strict", parts["resolved"])
        return replace(score, value=value, parts=parts, status=Status.CORRECT if value else Status.WRONG)

    def judge(self, task: Task, patch: str | None, *, official: bool = True) -> Judgement:  # noqa: ARG002
        """As `HiddenTests`. Raises `StoreError` too."""
        kept = InstanceFolder(self.folder, task.id)
        kept.forget()
        kept.keep_patch(patch or "")
        judged = HiddenTests.judge(self, task, patch, official=True)
        kept.keep(judged)
        return judged


@dataclass(frozen=True, slots=True)
class JudgedAgain(KeptTests):
    """Gives verdicts on the kept logs. Only where there are none, because something of ours broke, do tests run."""

    def judge(self, task: Task, patch: str | None, *, official: bool = True) -> Judgement:  # noqa: ARG002
        """As `KeptTests`, for the patch that is kept."""
        kept = InstanceFolder(self.folder, task.id)
        judged = kept.judgement()
        if judged is None or judged.status is not Status.GRADED:
            return KeptTests.judge(self, task, kept.patch())
        again = regraded(task, kept.patch() or "", judged)
        kept.keep(again)
        return again


def regraded(task: Task, patch: str, judged: Judgement) -> Judgement:
    """The judgement that the same run of the tests comes to by the rules as they are. What twins said stays."""
    official = None if judged.official is None else grade(task, judged.official_log, patch=patch)
    if not judged.log:
        return replace(judged, official=official)
    verdict = grade(task, judged.log, patch=patch, removed=judged.removed, record=judged.record)
    if judged.leaks:
        verdict = replace(verdict, strict=False, tampered=(*verdict.tampered, *judged.leaks))
    why = judged.why if verdict == judged.verdict else verdict.why
    again = replace(judged, verdict=verdict, why=why)
    return again if official is None else beside(again, official)


def check_gradable(task: Task) -> None:
    """Raise `TaskError` for a task that could never be judged, before anything is spent on it."""
    HiddenTests().check_task(task)
    row = row_of(task)
    if row.log_parser not in PARSERS:
        raise TaskError(f"task {task.id!r}: there is no parser {row.log_parser!r} of test logs")
