"""From a candidate to a task: the lists of tests are found by running them, and the task is put to the proof.

Everything of the candidate runs in a sandbox without a network. The tests run several times before and after the gold
patch; those that do not end alike each time are dropped.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepgym import sandboxes
from stepgym.errors import SandboxError, TaskError
from stepgym.records import Task
from stepgym.rewards.swe.grading import grade
from stepgym.rewards.swe.marks import test_phase
from stepgym.rewards.swe.parsers import parse_log
from stepgym.rewards.swe.statuses import PASSED
from stepgym.sandboxes import Bind
from stepgym.tasks.swe import ENVIRONMENT, Instance, instance_of, swe_task
from stepgym.tasks.swe_candidate import Candidate
from stepgym.tasks.swe_python import environment, pinned
from stepgym.tasks.swe_rows import asked
from stepgym.tasks.swe_scripts import eval_script, recorded
from stepgym.tasks.swe_source import materialise, pack, scratch

PARSER = "parse_log_pytest_v2"
"""It keeps blanks in the names of tests."""
OUTPUT = 64 << 20
"""Bytes of a log; a longer one cannot be read for its tests."""

Statuses = Mapping[str, str]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a task is made."""

    repeats: int = 3
    """How often the tests run before, and after, the gold patch."""
    timeout: float = 600.0
    """Seconds that one run may take."""
    requirements: tuple[str, ...] = ()
    """Packages that the tests need beside those that the repository asks for."""


@dataclass(frozen=True, slots=True)
class Lists:
    """What the runs found."""

    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    flaky: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the tests."""

    log: str
    statuses: Statuses


def make_task(candidate: Candidate, archive: Path, making: Making, say: Say) -> Task:
    """The task of a candidate, whose files are packed into `archive`; its source is the archive's name alone.

    Raises `TaskError` where the tests tell nothing: none fails before the change and passes after it, or the grader
    does not find the change solved each time, or finds the base solved once.
    """
    say(f"{candidate.id}: resolving the packages that its tests need")
    requirements = pinned(["pytest", *candidate.requirements, *making.requirements])
    binds = (Bind(environment(requirements), ENVIRONMENT),)
    instance = Instance(
        repo=candidate.repo,
        base_commit=candidate.base_commit,
        version=candidate.version,
        source=str(candidate.folder),
        test_patch=candidate.test_patch,
        eval_script=_script(candidate),
        log_parser=PARSER,
        requirements=requirements,
        timeout=making.timeout,
    )
    before: list[_Run] = []
    after: list[_Run] = []
    for number in range(1, making.repeats + 1):
        for patch, runs, when in (("", before, "before"), (candidate.gold, after, "after")):
            runs.append(_run(instance, patch, binds))
            passed = sum(status == PASSED for status in runs[-1].statuses.values())
            said = f"{passed} of {len(runs[-1].statuses)} tests pass {when} the change"
            say(f"{candidate.id}: run {number}/{making.repeats}: {said}")
        lists = compare([run.statuses for run in before], [run.statuses for run in after])
        _check(candidate.id, lists, after[0])
    if lists.flaky:
        say(f"{candidate.id}: {len(lists.flaky)} tests did not end alike each time and are left out")
    pack(candidate.folder, archive)
    instance = replace(instance, source=archive.name, fail_to_pass=lists.fail_to_pass, pass_to_pass=lists.pass_to_pass)
    issue = candidate.issue or asked(candidate.repo, lists.fail_to_pass)
    task = swe_task(candidate.id, issue, candidate.gold, instance)
    _prove(task, archive, [run.log for run in before], [run.log for run in after])
    return task


def run_tests(instance: Instance, patch: str = "", binds: Sequence[Bind] = ()) -> str:
    """The log of the hidden tests after a patch, in a fresh sandbox. `Instance.source` is a folder with a repository.

    Raises `TaskError` where the patch does not apply or the tests do not come to their end.
    """
    sandbox = sandboxes.make(
        "namespace", workspace=instance.source, workdir=instance.workdir, binds=tuple(binds), output=OUTPUT
    )
    with sandbox:
        if patch:
            sandbox.write("/tmp/patch.diff", patch)
            applied = sandbox.exec("git apply --whitespace=nowarn /tmp/patch.diff")
            if not applied.ok:
                raise TaskError(f"{instance.repo}: the patch does not apply: {applied.output[-400:].strip()}")
        sandbox.write("/tmp/eval.sh", recorded(instance.eval_script))
        result = sandbox.exec("bash /tmp/eval.sh 2>&1", timeout=instance.timeout)
    if result.timed_out or result.truncated:
        what = "took too long" if result.timed_out else f"printed more than {OUTPUT >> 20} MiB"
        raise TaskError(f"{instance.repo}: the tests {what}")
    return result.output


def _run(instance: Instance, patch: str, binds: Sequence[Bind]) -> _Run:
    log = run_tests(instance, patch, binds)
    phase = test_phase(log)
    if phase is None:
        raise SandboxError(f"{instance.repo}: the tests did not run: {log[-400:].strip()}")
    return _Run(log, parse_log(instance.log_parser, phase) or {})


def _prove(task: Task, archive: Path, before: Sequence[str], after: Sequence[str]) -> None:
    """Raise `TaskError` unless the grader agrees with the lists on every log, and the archive holds the base."""
    for log in after:
        verdict = grade(task, log, patch=task.answer)
        if not verdict.resolved:
            raise TaskError(f"{task.id}: the gold patch does not resolve it ({verdict.why or 'a test fails'})")
    if any(grade(task, log).resolved for log in before):
        raise TaskError(f"{task.id}: it is resolved without any change")
    with scratch() as folder:
        if materialise(str(archive), Path(folder) / "base") != instance_of(task).base_commit:
            raise TaskError(f"{task.id}: its files do not survive being packed; are there empty links or odd modes?")


def compare(before: Sequence[Statuses], after: Sequence[Statuses]) -> Lists:
    """The tests that pass after a change each time, by whether they do before it; those that vary are flaky."""
    names = sorted({name for run in (*before, *after) for name in run})
    fail: list[str] = []
    keep: list[str] = []
    flaky: list[str] = []
    for name in names:
        was, is_ = {run.get(name, "") for run in before}, {run.get(name, "") for run in after}
        if len(was) > 1 or len(is_) > 1:
            flaky.append(name)
        elif is_ == {PASSED}:
            (keep if was == {PASSED} else fail).append(name)
    return Lists(tuple(fail), tuple(keep), tuple(flaky))


def _check(id: str, lists: Lists, gold: _Run) -> None:
    missing = sorted(set(re.findall(r"No module named '([\w.]{1,100})'", gold.log)))
    lacking = f"; the tests lack {', '.join(missing)}: name the packages with --requirements" if missing else ""
    if not gold.statuses:
        last = gold.log.strip().splitlines()[-3:]
        raise TaskError(f"{id}: no test ran after the change{lacking or ': ' + ' / '.join(last)[:500]}")
    if lists.fail_to_pass and not lists.pass_to_pass:
        raise TaskError(
            f"{id}: every test fails before the change, so that it is not known whether they run there at all{lacking}"
        )
    if not lists.fail_to_pass:
        failing = sum(status != PASSED for status in gold.statuses.values())
        raise TaskError(
            f"{id}: no test fails before the change and passes after it each time, so that there is nothing to grade "
            f"by ({failing} of {len(gold.statuses)} tests do not pass after it, {len(lists.flaky)} vary){lacking}"
        )


def _script(candidate: Candidate) -> str:
    """pytest over every test module, with the environment's Python and the repository before all that is installed."""
    places = ":".join(f"/testbed/{path}" for path in candidate.paths)
    search = f"{places}${{PYTHONPATH:+:$PYTHONPATH}}" if places else "${PYTHONPATH:-}"
    before = [
        f"export PATH={ENVIRONMENT}/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0",
        f'export PYTHONPATH="{search}"',
    ]
    tests = f"python -m pytest -o addopts= -rA --tb=short -p no:cacheprovider {shlex.join(candidate.test_files)}"
    return eval_script(candidate.test_patch, tests, base=candidate.base_commit, before=before)
