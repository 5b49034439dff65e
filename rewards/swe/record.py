"""The harness's own record of a test run, by which a verdict need not trust what the tests print.

A recorder (`stepgym.rewards.swe.recorder`) runs beside the tests and writes a line when a test is collected and after
each of its phases, into a descriptor that the harness reads. Every line is signed with a key that the next line
replaces, so what was written before some code could look for the key cannot be changed or left out afterwards (a
forward-secure log: Bellare and Yee, 1997; Schneier and Kelsey, 1999). The last line seals the record; a run that ends
early has none.

It proves nothing about code that takes the process over before its own test runs: tests share a process with what they
test. That code is what `stepgym.rewards.swe.guard` looks for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from stepgym.rewards.swe.statuses import ERROR, FAILED, PASSED, SKIPPED, XFAIL

LARGEST = 64_000_000
"""Bytes of a record that are read."""


class Phase(StrEnum):
    """When something became of a test. A runner without fixtures has no set-up and no tear-down."""

    COLLECT = "collect"
    SETUP = "setup"
    CALL = "call"
    TEARDOWN = "teardown"
    END = "end"
    """Of the whole run; `TestRecord.outcome` is its exit code then."""


class Outcome(StrEnum):
    """What became of a phase."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"


@dataclass(frozen=True, slots=True)
class TestRecord:
    """One line of a record."""

    __test__ = False  # pytest, seeing the name, would collect it

    test: str
    """The test's id, in the form in which the runner prints it."""
    phase: Phase
    outcome: str = ""
    """An `Outcome`, of a phase that has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the harness saw of one run."""

    tests: tuple[TestRecord, ...] = ()
    exit_code: int | None = None
    """What the runner said it would exit with; None for a run that ended early."""
    flaw: str = ""
    """Why the record cannot be relied on, or nothing."""

    @property
    def sealed(self) -> bool:
        """Whether the run came to its end and every line is signed."""
        return self.exit_code is not None and not self.flaw

    def statuses(self) -> dict[str, str]:
        """Status by test, as pytest would print it. Of a test that ran twice, the worse counts."""
        phases: dict[str, list[TestRecord]] = {}
        for line in self.tests:
            phases.setdefault(line.test, []).append(line)
        return {test: _status(lines) for test, lines in phases.items()}


def _status(lines: Sequence[TestRecord]) -> str:
    outcomes = {(line.phase, line.outcome) for line in lines}
    seen = {line.phase for line in lines}
    if (Phase.CALL, Outcome.FAILED) in outcomes:
        return FAILED
    if any(outcome == Outcome.FAILED for _, outcome in outcomes):
        return ERROR
    for outcome, status in ((Outcome.XFAILED, XFAIL), (Outcome.SKIPPED, SKIPPED), (Outcome.XPASSED, "XPASS")):
        if any(found == outcome for _, found in outcomes):
            return status
    ended = Phase.SETUP not in seen or Phase.TEARDOWN in seen
    return PASSED if (Phase.CALL, Outcome.PASSED) in outcomes and ended else ERROR


def read_record(data: bytes, key: bytes) -> RunRecord:
    """Read what a recorder wrote with `key`, up to the first line that is not in order.

    A line is its signature (HMAC-SHA256 of the rest, in hex), a space, and ``[number, test, phase, outcome]`` as JSON;
    the key of the next line is the SHA-256 of this line's.
    """
    import hashlib  # OpenSSL takes longer to load than most logs to grade
    import hmac

    if len(data) > LARGEST:
        return RunRecord(flaw=f"the record has {len(data):,} bytes, more than {LARGEST:,}")
    lines: list[TestRecord] = []
    for number, line in enumerate(data.split(b"\n")[:-1]):
        signature, _, payload = line.partition(b" ")
        signed = hmac.compare_digest(signature, hmac.new(key, payload, hashlib.sha256).hexdigest().encode())
        read = _read_line(payload, number) if signed else None
        if read is None:
            return RunRecord(tests=tuple(lines), flaw=f"line {number + 1} of the record is not the recorder's")
        if read.phase is Phase.END:
            return RunRecord(tests=tuple(lines), exit_code=int(read.outcome))
        lines.append(read)
        key = hashlib.sha256(key).digest()
    return RunRecord(tests=tuple(lines), flaw="the run ended before its record did")


def _read_line(payload: bytes, number: int) -> TestRecord | None:
    try:
        counted, test, phase, outcome = json.loads(payload)
        read = TestRecord(str(test), Phase(phase), str(outcome))
        known = int(outcome) if read.phase is Phase.END else outcome == "" or Outcome(outcome)
    except (ValueError, TypeError, RecursionError):
        return None  # whoever signed it has the key, and is not the recorder
    return read if counted == number and known is not None else None
