"""The commands `stepgym annotate hints | subquestions | steps`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from stepgym.agents.annotating import Annotation, annotate
from stepgym.agents.decomposer import Decomposer
from stepgym.agents.guide import Guide
from stepgym.agents.rewriter import StepRewriter
from stepgym.agents.writing import Writer
from stepgym.errors import PolicyError, TaskError
from stepgym.tasks.subquestions import DECOMPOSE


@dataclass(frozen=True, slots=True, kw_only=True)
class SubquestionAnnotation(Annotation):
    """Settings of writing sub-questions."""

    template: str = DECOMPOSE
    """What the model is told, with {prompt} for the problem: that of the environment it was trained in."""


def annotate_hints(config: Annotation) -> None:
    """Write a hint for every task of a source, with any model; resumes."""
    _annotate(config, Guide(), "hints")


def annotate_subquestions(config: SubquestionAnnotation) -> None:
    """Write sub-questions for every task of a source, with any model; resumes."""
    _annotate(config, Decomposer(config.template), "sub-questions")


def annotate_steps(config: Annotation) -> None:
    """Rewrite every solution of a source as numbered, titled steps, with any model; resumes."""
    _annotate(config, StepRewriter(), "steps")


def _annotate(config: Annotation, writer: Writer, material: str) -> None:
    try:
        summary = annotate(config, writer)
    except KeyboardInterrupt:
        if config.out.exists():
            print(f"\n{config.out} keeps what is finished; the same command goes on from there", file=sys.stderr)
        raise
    rejected = sum(summary.rejected.values())
    print(f"{material}: {summary.written} written, {summary.kept} kept, {rejected} rejected, {summary.failed} failed")
    for why, count in sorted(summary.rejected.items(), key=lambda item: -item[1]):
        print(f"  {count} rejected: {why}")
    usage = summary.usage
    print(f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written, {usage.dollars:.2f} dollars")
    print(config.out)
    if summary.failed:
        total = summary.kept + summary.written + rejected + summary.failed
        failures = f"{summary.failed} of {total} tasks failed, one with: {summary.failure}"
        print(f"{failures}; the same command tries them again", file=sys.stderr)
    if not summary.written and not summary.kept:
        what = f"no task of {config.tasks} was given {material}"
        if summary.failed:
            raise PolicyError(f"{what}; the model failed: {summary.failure}")
        raise TaskError(f"{what}; see the reasons above")
