"""What an evaluation reports: estimates with their uncertainty, and everything that was left out of them, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepgym.records import Usage

LEVEL = 0.95
"""Of the confidence intervals."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over tasks, between 0 and 1, with its confidence interval (over tasks, level `LEVEL`)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:6.2f} %   [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True)
class PassAt:
    """The unbiased pass@k."""

    k: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task: of its `graded` samples, `correct` were right."""

    id: str
    correct: float
    graded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MathReport:
    """The result of `stepgym eval math`. What failed or could not be graded is counted, and never taken as wrong."""

    tasks: str
    policy: str
    model: str
    prompt: str
    grader: str
    temperature: float
    top_p: float
    max_tokens: int
    samples: int
    """Asked for, for each task."""
    task_count: int
    unmeasured: int
    """Tasks without a single graded sample, which no estimate covers."""
    graded: int
    ungraded: int
    """Answers the grader could not decide."""
    failed: int
    """Samples the policy could not give; the same command tries them again."""
    missing: int
    """Samples that have not been taken."""
    unanswered: int
    """Graded replies without a readable final answer: wrong."""
    cut: int
    """Replies that ran into the token limit."""
    average: Estimate | None
    """avg@n: the mean of every task's mean. With one sample, pass@1."""
    pass_at: tuple[PassAt, ...]
    majority: Estimate | None
    """maj@n: the answer given most often; None with one sample."""
    usage: Usage
    """Of every reply that counts; `seconds` is the sum over replies, not wall time."""
    by_task: tuple[TaskResult, ...]


def format_report(report: MathReport) -> str:
    """A table for people."""
    n = report.samples
    rows = [("pass@1" if n == 1 else f"avg@{n}", report.average)]
    rows += [(f"pass@{entry.k}", entry.estimate) for entry in report.pass_at if n > 1]
    rows += [(f"maj@{n}", report.majority)] if n > 1 else []
    lines = [
        f"{report.tasks}, {report.task_count} tasks: {report.policy} {report.model}".rstrip(),
        f"prompt {report.prompt}, grader {report.grader}, temperature {report.temperature:g}, "
        f"top_p {report.top_p:g}, {report.max_tokens} tokens at most",
        "",
        *(f"  {name:<10} {estimate if estimate else 'nothing graded'}" for name, estimate in rows),
        "",
        f"  {'graded':<10} {report.graded} of {report.task_count * n} samples{_exceptions(report)}",
        f"  {'of these':<10} {report.unanswered} without an answer, {report.cut} cut off by the token limit",
        f"  {'tokens':<10} {_usage(report)}",
    ]
    return "\n".join(lines)


def _exceptions(report: MathReport) -> str:
    kinds = (
        (report.ungraded, "could not be graded"),
        (report.failed, "failed"),
        (report.missing, "not taken"),
        (report.unmeasured, "tasks are left out for want of a graded sample"),
    )
    return "".join(f"; {count} {what}" for count, what in kinds if count)


def _usage(report: MathReport) -> str:
    usage, replies = report.usage, max(1, report.graded + report.ungraded)
    parts: Sequence[str] = (
        f"{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written",
        f"{usage.seconds / replies:.1f} s a reply",
        f"{usage.dollars:.2f} dollars" if usage.dollars else "",
    )
    return ", ".join(part for part in parts if part)
