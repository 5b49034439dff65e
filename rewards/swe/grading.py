"""SWE-bench's verdict from a log, computed as swebench 5.0.2 does and without importing it.

`grade` is a pure function of text. The official rules decide `Verdict.resolved`; what is found in the patch (`guard`),
in the log (`transcript`) and in the harness's own record (`record`) decides `Verdict.strict`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepgym.errors import RewardError
from stepgym.rewards.swe.findings import REMOVABLE, Finding, Kind
from stepgym.rewards.swe.marks import broken_by, exit_codes, suite_ran, test_phase, text_of
from stepgym.rewards.swe.parsers import parse_log
from stepgym.rewards.swe.rows import Row, row_of
from stepgym.rewards.swe.statuses import ERROR, FAILED, FAILING, MAINTAINED, PASSING, Statuses
from stepgym.rewards.swe.transcript import inspect_log
from stepgym.rewards.swe.verdict import Target, TestVerdict, Verdict

if TYPE_CHECKING:
    from stepgym.records import Task
    from stepgym.rewards.swe.infrastructure import Sign
    from stepgym.rewards.swe.record import RunRecord
    from stepgym.tasks.swe import Instance

MOST_TOLD = 5
"""Tests on which log and record differ that are named."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the official rules make of a log."""

    statuses: Statuses
    readable: bool
    """False for a log that is not one of a test run."""
    phase: str | None = None
    """What stands between the marks of the log; None where one is missing."""
    why: str = ""


def grade(
    row: Mapping[str, Any] | Task | Instance,
    log: str | bytes,
    *,
    patch: str | None = "",
    removed: Collection[str] = (),
    record: RunRecord | None = None,
) -> Verdict:
    """The verdict on one attempt.

    `row` is a row in one of swebench's schemas, or what such a row was loaded into. `patch` is the agent's diff: None
    where it made none, empty where it is not at hand, and then no finding is about it. `removed` are the paths that the
    harness took out of it (`guard_patch`), `record` what the harness itself saw of the tests.
    Raises `TaskError` or `UnknownNameError` for a row that cannot be graded.
    """
    about = row_of(row)
    if patch is None:
        return Verdict(id=about.id, patch_exists=False, why="the agent made no patch")
    text = text_of(log)
    reading = read_log(about, text)
    tests = tuple(_test_verdicts(about, reading.statuses)) if reading.readable else ()
    resolved = reading.readable and not any(test.success is False for test in tests)
    findings = _findings(about, text, reading, tests, patch, record)
    standing = [finding for finding in findings if not _undone(finding, removed)]
    sign = None if reading.readable else _sign_of(text)
    return Verdict(
        id=about.id,
        resolved=resolved,
        strict=resolved and not standing and (None if record is None else True),
        tampered=tuple(f.why for f in findings if f in standing or f.kind is not Kind.OTHER_TEST),
        tests=tests,
        read=reading.readable,
        infra_failure=sign is not None and sign.certain,
        infra_reason=sign.reason if sign else "",
        why=reading.why or _told(tests),
    )


def _sign_of(log: str) -> Sign | None:
    from stepgym.rewards.swe.infrastructure import sign_of  # most logs do without it

    return sign_of(log)


def read_log(row: Row, log: str) -> Reading:
    """The statuses that count: those between the marks or, where there are none, those of the whole log."""
    if (mark := broken_by(log)) != "":
        return Reading({}, False, test_phase(log), f"the log says {mark!r}")
    phase = test_phase(log)
    if phase is None:
        return Reading({}, False, None, "the log lacks the marks of the tests' start and end")
    try:
        statuses = _parse(row, phase) or _parse(row, log)
    except RewardError as error:
        return Reading({}, False, phase, str(error))
    if not statuses:
        ran = suite_ran(log)
        return Reading({}, ran, phase, "" if ran else "the log names no test, and no sign that tests ran")
    code = next(iter(exit_codes(log)), 0)
    if code != 0 and not {FAILED, ERROR} & set(statuses.values()):
        return Reading({}, False, phase, f"the tests exited with {code}, though none has failed")
    return Reading(statuses, True, phase)


def _parse(row: Row, log: str) -> Statuses:
    return parse_log(row.log_parser, log, instance_id=row.id, version=row.version)


def status_of(test: str, statuses: Mapping[str, str]) -> str:
    """The status of a test, or the empty string.

    Lists of SWE-bench hold ids that are cut within their parameter (``test_fail[log(photon``). Such an id has the
    status of the tests that begin with it, where these agree on whether they pass.
    """
    if test in statuses or test.count("[") <= test.count("]"):
        return statuses.get(test, "")
    found = [status for name, status in statuses.items() if name.startswith(test)]
    return found[0] if found and len({status in PASSING for status in found}) == 1 else ""


def _test_verdicts(row: Row, statuses: Statuses) -> list[TestVerdict]:
    wanted = ((Target.FAIL_TO_PASS, row.fail_to_pass), (Target.PASS_TO_PASS, row.pass_to_pass))
    return [_test_verdict(row, target, test, statuses) for target, tests in wanted for test in tests]


def _test_verdict(row: Row, target: Target, test: str, statuses: Statuses) -> TestVerdict:
    if row.fail_only:
        status = statuses.get(test, "")
        return TestVerdict(test, target, status, status != FAILED)
    status = status_of(test, statuses)
    return TestVerdict(test, target, status, _success(target, status))


def _success(target: Target, status: str) -> bool | None:
    if status in (PASSING if target is Target.FAIL_TO_PASS else MAINTAINED):
        return True
    return False if not status or status in FAILING else None


def _told(tests: Sequence[TestVerdict]) -> str:
    failed = [test for test in tests if test.success is False]
    if not failed:
        return f"all {len(tests)} tests did what is asked"
    first = failed[0]
    return f"{len(failed)} of {len(tests)} tests failed, first {first.name} ({first.status or 'not in the log'})"


def _findings(
    row: Row, log: str, reading: Reading, tests: Sequence[TestVerdict], patch: str, record: RunRecord | None
) -> list[Finding]:
    found: list[Finding] = []
    if patch:
        from stepgym.rewards.swe.guard import (
            inspect_patch,
        )  # its patterns take as long to compile as many logs to grade

        found += inspect_patch(patch, gold=row.gold, test_patch=row.test_patch, eval_script=row.eval_script)
    expected = {test.name for test in tests}
    found += inspect_log(log, reading.phase, row.log_parser, reading.statuses, expected, row.eval_script)
    return found if record is None else [*found, *_against_record(row, tests, record)]


def _against_record(row: Row, tests: Sequence[TestVerdict], record: RunRecord) -> list[Finding]:
    """Where the log claims more than the harness saw."""
    found = [] if record.sealed else [Finding(Kind.RECORD, record.flaw or "the run ended before its record did")]
    seen = _as_parsed(row, record.statuses())
    bought = [test for test in tests if test.success and not _success(test.target, status_of(test.name, seen))]
    for test in bought[:MOST_TOLD]:
        status = status_of(test.name, seen) or "nothing"
        found.append(Finding(Kind.RECORD, f"{test.name}: the log says {test.status}, and the harness saw {status}"))
    if len(bought) > MOST_TOLD:
        found.append(Finding(Kind.RECORD, f"so it is of {len(bought) - MOST_TOLD} tests more"))
    return found


def _as_parsed(row: Row, statuses: Mapping[str, str]) -> Statuses:
    """The record under the names by which the parser of the log would know the tests; of several, the worst counts."""
    found: Statuses = {}
    for test, status in statuses.items():
        name = next(iter(_parse(row, f"PASSED {test}\n")), test)
        if name not in found or _badness(status) > _badness(found[name]):
            found[name] = status
    return found


def _badness(status: str) -> int:
    return 0 if status in PASSING else 1 if status in MAINTAINED else 2


def _undone(finding: Finding, removed: Collection[str]) -> bool:
    return finding.kind in REMOVABLE and finding.path in removed
