"""The reward of software-engineering tasks: do the hidden tests pass, and honestly?

The attempt is a patch. What of it steers test runs, and what touches tests, is taken out (`guard`); the rest is applied
to the base in a fresh sandbox, where the task's own script runs the hidden tests. Two verdicts come of it:

- `resolved`, which is SWE-bench's: the log says that all tests did what is asked.
- `strict`, which in addition needs the harness's own record of the run (`recording`) to say the same, nothing in the
  patch and the log to speak against it (`grading`), and the twins of the hidden tests to fail (`twins`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from stepgym.errors import ConfigError, SandboxError, TaskError
from stepgym.records import Attempt, Score, Status, Task
from stepgym.registry import unknown
from stepgym.rewards.swe.findings import REMOVABLE, Kind
from stepgym.rewards.swe.grading import grade, status_of
from stepgym.rewards.swe.guard import GuardedPatch, guard_patch
from stepgym.rewards.swe.record import RunRecord
from stepgym.rewards.swe.repository import ApplyResult, spec_for
from stepgym.rewards.swe.running import Run, run_tests
from stepgym.rewards.swe.statuses import PASSED, PASSING
from stepgym.rewards.swe.verdict import Target, Verdict
from stepgym.sandboxes import SANDBOXES, Sandbox, SandboxPool, Spec, make
from stepgym.tasks.swe import Instance, instance_of
from stepgym.tasks.swe_patch_reading import parse_diff

MOST_TOLD = 3
PATIENCE, SLACK = 4.0, 10.0
"""Twins may take this many times the time of their tests, and this many seconds more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All that is known of one attempt."""

    verdict: Verdict
    """On the patch as it was applied. `Verdict.resolved` is the official one, unless `official` is there."""
    patch: str
    """What was applied: the attempt without what was taken out."""
    removed: tuple[str, ...] = ()
    """Paths whose changes were taken out."""
    official: Verdict | None = None
    """The verdict of a run with the whole patch, where something was taken out and `HiddenTests.judge` was asked."""
    log: str = ""
    """Of the run that `verdict` is about; `official_log` is of the other."""
    official_log: str = ""
    record: RunRecord | None = None
    leaks: tuple[str, ...] = ()
    """What the twins of the tests say against it; it stands in `Verdict.tampered` too."""
    applied: ApplyResult | None = None
    """None where nothing was tried."""
    seconds: float = 0.0
    """That all runs of the tests took."""
    status: Status = Status.GRADED
    """TIMEOUT or ERROR where no verdict could be reached, and `verdict` says nothing."""
    why: str = ""
    """One clause for a person."""

    @property
    def resolved(self) -> bool:
        """The verdict that the official harness gives the whole patch, as far as it was asked for."""
        return (self.official or self.verdict).resolved


@dataclass(frozen=True, slots=True)
class HiddenTests:
    """Runs the hidden tests after a patch, in a fresh sandbox. ``Attempt.text`` is the patch.

    An empty patch, one that is no diff, and one that does not apply, are worth 0 and run nothing. Tests that end by a
    time-out or by a limit of the sandbox are worth 0 where the same tests come to their end without the patch, and
    ungraded where they do not: then it is the machine or the task that is too slow, and not the patch. What else breaks
    is ungraded too.

    It cannot tell an honest program from one that gives the expected values because they were written into it, or
    because it reads them from the variables of a test that compares with a variable. And it runs code under test and
    tests in one process: code that is written against this very class, finds the recorder in memory, and tells twins
    from tests by their code, would be believed.
    """

    sandbox: str | SandboxPool = "namespace"
    """A back end, or a pool to take fresh sandboxes from."""
    value: Literal["strict", "resolved", "fraction"] = field(default="strict", kw_only=True)
    """What the score is: a verdict, or the share of FAIL_TO_PASS that the log says passes: 0 if a
    PASS_TO_PASS test fails, and if it would be 1 without a strict verdict. Only what is strict is put to the proof."""
    spec: Spec | None = field(default=None, kw_only=True)
    """Limits and network of the sandboxes, where they are not those of a plain `Spec`."""
    timeout: float | None = field(default=None, kw_only=True)
    """Most seconds that the tests may take; the task's own limit holds where it is less."""
    twins: bool = field(default=True, kw_only=True)
    """Whether an attempt that would be strict is put to the proof by a second run, of the twins."""

    def __post_init__(self) -> None:
        if isinstance(self.sandbox, str) and self.sandbox.partition(":")[0] not in SANDBOXES:
            raise ConfigError(f"HiddenTests: {unknown('sandbox', self.sandbox, SANDBOXES)}")
        if self.value not in ("strict", "resolved", "fraction"):
            raise ConfigError(f"HiddenTests: {unknown('value', self.value, ('strict', 'resolved', 'fraction'))}")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"HiddenTests: the timeout must be positive, not {self.timeout}")

    def __call__(self, attempt: Attempt, /) -> Score:
        """The score of a patch; `parts` has both verdicts, the shares of both lists, and whether it was tampered with.

        Raises `TaskError` for a task that cannot be graded.
        """
        try:
            return self.score(self.judge(attempt.task, attempt.text, official=False))
        except SandboxError as error:
            return Score.ungraded(f"sandbox: {error}")

    def score(self, judged: Judgement) -> Score:
        """The score of what was judged."""
        verdict = judged.verdict
        if judged.status is not Status.GRADED:
            return Score.ungraded(judged.why, judged.status)
        if verdict.strict is None and self.value == "strict":
            return Score.ungraded("no record can be taken of these tests: their strict verdict is open")
        f2p, p2p = (verdict.share(target) if verdict.tests else 0.0 for target in Target)
        parts = {
            "resolved": float(verdict.resolved),
            "strict": float(verdict.strict is True),
            "f2p": f2p,
            "p2p": p2p,
            "tampered": float(bool(verdict.tampered)),
        }
        bought = verdict.resolved and verdict.strict is False
        fraction = f2p if p2p == 1.0 and not bought else 0.0
        value = fraction if self.value == "fraction" else parts[self.value]
        return Score(value, parts, judged.why, Status.CORRECT if value == 1.0 else Status.WRONG)

    def check_task(self, task: Task, /) -> None:
        """Raises `TaskError` for a task without hidden tests."""
        instance = instance_of(task)
        if not instance.fail_to_pass or not instance.eval_script:
            raise TaskError(f"task {task.id!r} has no FAIL_TO_PASS tests, or no script that runs them")

    def judge(self, task: Task, patch: str | None, *, official: bool = True) -> Judgement:
        """Everything about an attempt, logs included. None is an agent that made no patch.

        With `official`, a patch of which something is taken out also runs as it is, for the verdict that SWE-bench
        would give it. Raises `TaskError`, and `SandboxError` where a sandbox could not be had or broke.
        """
        self.check_task(task)
        instance = instance_of(task)
        if not (patch or "").strip():
            return _nothing(task, patch, "the patch is empty")
        assert patch is not None
        if (diff := parse_diff(patch)).flaws or not diff.files:
            return _nothing(task, patch, f"the patch cannot be applied: {next(iter(diff.flaws), 'it names no file')}")
        guarded = guard_patch(patch, gold=task.answer, test_patch=instance.test_patch, eval_script=instance.eval_script)
        judged = self._judged(task, instance, patch, guarded)
        if official and judged.status is Status.GRADED and _steered(guarded):
            whole = self._run(instance, patch)
            verdict = grade(task, whole.log, patch=patch, record=whole.record)
            judged = replace(judged, official_log=whole.log, seconds=judged.seconds + whole.seconds)
            judged = beside(judged, verdict)
        return judged

    def _judged(self, task: Task, instance: Instance, patch: str, guarded: GuardedPatch) -> Judgement:
        kept = guarded.text
        if not kept.strip():
            tampered = tuple(finding.why for finding in guarded.findings if finding.kind is not Kind.OTHER_TEST)
            why = "nothing is left of the patch without tests and what steers them"
            return Judgement(
                verdict=Verdict(id=task.id, tampered=tampered, why=why), patch="", removed=guarded.removed, why=why
            )
        run = self._run(instance, kept)
        about = Judgement(
            verdict=Verdict(id=task.id),
            patch=kept,
            removed=guarded.removed,
            log=run.log,
            record=run.record,
            applied=run.applied,
            seconds=run.seconds,
        )
        if not run.applied.applied:
            why = f"the patch does not apply: {_last_line(run.applied.output)}"
            return replace(about, verdict=Verdict(id=task.id, why=why), why=why)
        if run.ended_by:
            return self._ended_early(about, instance, run)
        verdict = grade(task, run.log, patch=patch, removed=guarded.removed, record=run.record)
        if verdict.infra_failure and not verdict.resolved and (ill := self._machine_fails(instance)):
            return replace(about, status=Status.ERROR, why=f"{verdict.infra_reason}: {ill}")
        if verdict.strict and self.twins:
            before = verdict.tampered
            verdict, seconds = self._proved(instance, verdict, run, kept)
            about = replace(about, seconds=about.seconds + seconds, leaks=verdict.tampered[len(before) :])
        why = f"{verdict.why}; but {'; '.join(verdict.tampered[:MOST_TOLD])}" if verdict.tampered else verdict.why
        return replace(about, verdict=verdict, why=why)

    def _proved(self, instance: Instance, verdict: Verdict, run: Run, patch: str) -> tuple[Verdict, float]:
        """The verdict after a run of the twins of what has passed, and the seconds that it took."""
        assert run.record is not None
        seen = run.record.statuses()
        passed = [test for test in instance.fail_to_pass if status_of(test, seen) == PASSED]
        again = self._run(instance, patch, twins_for=passed, most=PATIENCE * run.seconds + SLACK)
        seconds = again.seconds
        if again.timed_out:  # there are tests that end only where a comparison fails
            again = self._run(instance, patch, twins_for=passed, comparisons=False)
            seconds += again.seconds
        if not again.twins:
            return verdict, seconds  # no test has one: its file is not Python, or its name does not tell
        against = _leaks(again)
        if against:
            verdict = replace(verdict, strict=False, tampered=(*verdict.tampered, *against))
        return verdict, seconds

    def _ended_early(self, about: Judgement, instance: Instance, run: Run) -> Judgement:
        """The judgement of tests that something of ours ended."""
        if (ill := self._machine_fails(instance)) != "":
            status = Status.TIMEOUT if run.timed_out else Status.ERROR
            return replace(about, status=status, why=f"the tests ended early ({run.ended_by}), and {ill}")
        why = f"the tests ended early ({run.ended_by}), which they do not without the patch"
        return replace(about, verdict=replace(about.verdict, why=why), why=why)

    def _machine_fails(self, instance: Instance) -> str:
        """Why the tests of the base do not come to their end either; empty where they do."""
        try:
            _base_ends(self, instance)
        except SandboxError as error:
            return str(error)
        return ""

    def _run(
        self,
        instance: Instance,
        patch: str,
        *,
        twins_for: Sequence[str] = (),
        comparisons: bool = True,
        most: float = math.inf,
    ) -> Run:
        limit = min(instance.timeout, most, math.inf if self.timeout is None else self.timeout)
        with self._fresh(instance) as sandbox:
            return run_tests(sandbox, instance, patch, timeout=limit, twins_for=twins_for, comparisons=comparisons)

    @contextmanager
    def _fresh(self, instance: Instance) -> Iterator[Sandbox]:
        spec = spec_for(instance, self.spec)
        with make(self.sandbox, spec) if isinstance(self.sandbox, str) else self.sandbox.take(spec) as sandbox:
            yield sandbox


def beside(judged: Judgement, official: Verdict) -> Judgement:
    """The judgement with the verdict on the whole patch, which speaks against the attempt where it is better."""
    if judged.verdict.resolved or not official.resolved:
        return replace(judged, official=official)
    why = f"it is resolved only with what was taken out of it: {', '.join(judged.removed[:MOST_TOLD])}"
    verdict = replace(judged.verdict, tampered=(*judged.verdict.tampered, why))
    return replace(judged, official=official, verdict=verdict, why=why)


@lru_cache(maxsize=1024)
def _base_ends(tests: HiddenTests, instance: Instance) -> None:
    """Raise `SandboxError` where the tests of the base do not come to their end; that they do is found out once."""
    run = tests._run(instance, "")
    if run.ended_by or not run.log:
        raise SandboxError(f"those of the base do so too ({run.ended_by or 'they print nothing'})")


def _steered(guarded: GuardedPatch) -> bool:
    """Whether the whole patch may do otherwise than what is left of it."""
    return any(finding.kind in REMOVABLE for finding in guarded.findings)


def _leaks(run: Run) -> tuple[str, ...]:
    """What the twins say against an attempt."""
    if run.ended_by:
        return (f"tests that must fail did not come to their end ({run.ended_by})",)
    if run.record is None or not run.record.sealed:
        return ("of tests that must fail there is no record",)
    seen = run.record.statuses()
    found = {test: status_of(test, seen) for twins in run.twins for test in twins.tests}
    bought = sorted(test for test, status in found.items() if status in PASSING)
    missing = sorted(test for test, status in found.items() if not status)
    told = [f"{test}: passed, though it must fail" for test in bought[:MOST_TOLD]]
    return (*told, *(f"{test}: did not run where it must fail" for test in missing[:MOST_TOLD]))


def _nothing(task: Task, patch: str | None, why: str) -> Judgement:
    verdict = Verdict(id=task.id, patch_exists=patch is not None, why=why)
    return Judgement(verdict=verdict, patch="", why=why)


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.strip().split("\n")) if line), "no reason given")[:300]
