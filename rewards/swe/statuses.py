"""What a test came to, in the words that logs and reports use."""

from __future__ import annotations

from enum import StrEnum


class TestStatus(StrEnum):
    """The statuses of swebench, which are pytest's words for them."""

    __test__ = False  # pytest, seeing the name, would collect it

    PASSED = "PASSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    ERROR = "ERROR"
    XFAIL = "XFAIL"


PASSED, FAILED, SKIPPED, ERROR, XFAIL = (
    TestStatus.PASSED.value,
    TestStatus.FAILED.value,
    TestStatus.SKIPPED.value,
    TestStatus.ERROR.value,
    TestStatus.XFAIL.value,
)

Statuses = dict[str, str]
"""Test to status, as read from a log: the last line about a test counts. A status may be a word beyond `TestStatus`,
where a line only begins like one (``ERROR:``); such a test has neither passed nor failed."""

PASSING = frozenset({PASSED, XFAIL})
"""Statuses that resolve a FAIL_TO_PASS test."""
MAINTAINED = frozenset({PASSED, XFAIL, SKIPPED})
"""Statuses that keep a PASS_TO_PASS test."""
FAILING = frozenset({FAILED, ERROR, SKIPPED})
"""Statuses that fail a test; a skipped test resolves nothing."""
