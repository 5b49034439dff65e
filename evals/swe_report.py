"""What `stepgym eval swe` reports: the official verdict, the strict one beside it, and what broke, counted apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stepgym.evals.report import Estimate
from stepgym.records import Stop, Trajectory, Usage

MOST_NAMED = 20
"""Broken instances that the table names; the report has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResult:
    """What became of one instance."""

    id: str
    resolved: bool | None
    """The official verdict; None for an instance without one."""
    strict: bool | None
    """None also where no record can be taken of the tests, so that it stays open."""
    handed_in: bool
    """Whether there is a patch, and it is not empty."""
    tampered: bool = False
    why: str = ""
    """What decided or, where there is no verdict, what broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SWEReport:
    """The result of `stepgym eval swe`. What failed or could not be judged is counted, never taken as unresolved."""

    tasks: str
    agent: str
    """Who played, or made the predictions: the agent's and its policy's name."""
    sandbox: str
    task_count: int
    resolved: int
    """By the rules of the official harness."""
    strict: int
    """Resolved, and nothing speaks against it."""
    open: int
    """Resolved, and it is not known how: no record can be taken of such tests."""
    unresolved: int
    empty: int
    """Unresolved for want of a patch."""
    tampered: int
    """Attempts with something that is not as in an honest one."""
    ungraded: int
    """Handed in, and the machinery of the tests broke; ``--rescore`` runs them again."""
    failed: int
    """Not played to the end, since the policy or a sandbox failed; the same command tries again."""
    missing: int
    """Not played yet, or without a prediction."""
    unusable: tuple[str, ...]
    """Rows that are no tasks, and why."""
    resolved_rate: Estimate | None
    """Over the instances with an official verdict."""
    strict_rate: Estimate | None
    """Over those with a strict one."""
    usage: Usage
    instances: tuple[InstanceResult, ...]

    @property
    def broken(self) -> list[str]:
        """A line for each instance without a verdict."""
        return [f"{each.id}: {each.why}" for each in self.instances if each.resolved is None] + list(self.unusable)


@dataclass(slots=True)
class Counts:
    """How a run stands; called with each trajectory, it says so in a line."""

    resolved: int = 0
    strict: int = 0
    graded: int = 0
    failed: int = 0
    ungraded: int = 0
    usage: Usage = field(default_factory=Usage)

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> Counts:
        """Those of what has been played; what failed is played again, and not counted."""
        counts = cls()
        for trajectory in trajectories:
            if trajectory.stop is not Stop.ERROR:
                counts(trajectory)
        return counts

    def __call__(self, trajectory: Trajectory) -> str:
        """Count one more."""
        self.usage += trajectory.usage
        self.failed += trajectory.stop is Stop.ERROR
        self.ungraded += trajectory.stop is Stop.UNGRADED
        if trajectory.graded:
            result = result_of(trajectory, patch=None)
            self.graded += 1
            self.resolved += bool(result.resolved)
            self.strict += bool(result.strict)
        return str(self)

    def __str__(self) -> str:
        tokens = self.usage.prompt_tokens + self.usage.completion_tokens
        parts = (
            f"{self.resolved} of {self.graded} resolved",
            f"{self.strict} strict",
            f"{self.failed} failed" if self.failed else "",
            f"{self.ungraded} ungraded" if self.ungraded else "",
            f"{tokens:,} tokens" if tokens else "",
            f"{self.usage.dollars:.2f} dollars" if self.usage.dollars else "",
        )
        return ", ".join(part for part in parts if part)


def result_of(trajectory: Trajectory, patch: str | None) -> InstanceResult:
    """What a trajectory says of its instance; `patch` is what was handed in."""
    score = trajectory.steps[-1].score if trajectory.steps else None
    if score is None or not trajectory.graded:
        why = trajectory.error or (score.why if score else "")
        return InstanceResult(
            id=trajectory.task.id, resolved=None, strict=None, handed_in=bool((patch or "").strip()), why=why
        )
    parts = score.parts
    return InstanceResult(
        id=trajectory.task.id,
        resolved=parts.get("resolved", 0.0) == 1.0,
        strict=None if parts and "strict" not in parts else parts.get("strict") == 1.0,
        handed_in=bool((patch or "").strip()),
        tampered=parts.get("tampered", 0.0) == 1.0,
        why=score.why,
    )


def format_swe_report(report: SWEReport) -> str:
    """A table for people."""
    graded = report.resolved + report.unresolved
    lines = [
        f"{report.tasks}, {report.task_count} tasks: {report.agent}, in {report.sandbox}",
        "",
        f"  {'resolved':<10} {report.resolved_rate or 'nothing judged'}   {report.resolved} of {graded}, officially",
        f"  {'strict':<10} {report.strict_rate or 'nothing judged'}   {report.strict} of {graded - report.open}"
        f", {report.tampered} tampered with" + (f", {report.open} open" if report.open else ""),
        "",
        f"  {'unresolved':<10} {report.unresolved}, {report.empty} of them without a patch",
        f"  {'broken':<10} {_broken(report)}",
        f"  {'tokens':<10} {_cost(report.usage)}",
    ]
    shown = report.broken[:MOST_NAMED]
    lines += ["", *(f"  {line[:300]}" for line in shown)] if shown else []
    if len(report.broken) > len(shown):
        lines.append(f"  and {len(report.broken) - len(shown)} more")
    return "\n".join(lines)


def _broken(report: SWEReport) -> str:
    kinds = (
        (report.failed, "failed"),
        (report.ungraded, "could not be judged"),
        (len(report.unusable), "rows are no tasks"),
        (report.missing, "not played"),
    )
    return ", ".join(f"{count} {what}" for count, what in kinds if count) or "none"


def _cost(usage: Usage) -> str:
    dollars = f", {usage.dollars:.2f} dollars" if usage.dollars else ""
    return f"{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written{dollars}"
